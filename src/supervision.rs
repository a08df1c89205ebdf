//! Supervision: background tasks that work for as long as the process does. One that ends or panics before
//! the process stops ends the process, so that another replica takes over: half a server would look alive.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks under supervision. Clones are the same.
#[derive(Debug, Clone)]
pub struct Supervisor {
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Why the process is to end, if it is.
    failure: watch::Sender<Option<String>>,
}

impl Supervisor {
    /// Without tasks. Once `stopping` is cancelled tasks may end.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stopping, failure: watch::Sender::new(None) }
    }

    /// Spawns a task. `name` says what it is, as in "the decision loop".
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let (name, failure, stopping) = (name.into(), self.failure.clone(), self.stopping.clone());
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let why = match ended {
                Err(panic) => format!("{name} panicked: {}", message(&*panic)),
                Ok(()) if !stopping.is_cancelled() => format!("{name} ended by itself"),
                Ok(()) => return,
            };
            tracing::error!("{why}");
            failure.send_if_modified(|first| {
                let new = first.is_none();
                first.get_or_insert(why);
                new
            });
        });
    }

    /// Waits until the process is to end, and says why: the first reason.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let Ok(why) = failure.wait_for(Option::is_some).await else {
            // We hold the other end.
            return std::future::pending().await;
        };
        why.clone().unwrap_or_default()
    }

    /// Waits until every task has ended; `Err` says which of them failed first.
    pub async fn ended(&self) -> Result<(), String> {
        self.tasks.close();
        self.tasks.wait().await;
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }
}

/// The text of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn why(supervisor: &Supervisor) -> String {
        timeout(SOON, supervisor.failed()).await.unwrap()
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_told_and_the_first_reason_stays() {
        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("the watch", async {});
        assert_eq!(why(&supervisor).await, "the watch ended by itself");
        supervisor.spawn("the loop", async {});
        tokio::task::yield_now().await;
        assert_eq!(why(&supervisor).await, "the watch ended by itself");

        let supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("the loop", async { panic!("index {} of 3", 7) });
        assert_eq!(why(&supervisor).await, "the loop panicked: index 7 of 3");
        let told = timeout(SOON, supervisor.ended()).await.unwrap();
        assert_eq!(told, Err("the loop panicked: index 7 of 3".to_owned()));
    }

    #[tokio::test]
    async fn a_task_that_was_told_to_stop_may_end_but_not_panic() {
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(stop.clone());
        let until = stop.clone();
        supervisor.spawn("one", async move { until.cancelled().await });
        let until = stop.clone();
        supervisor.spawn("two", async move {
            until.cancelled().await;
            panic!("late");
        });
        let early = timeout(Duration::from_millis(50), supervisor.ended()).await;
        assert!(early.is_err(), "both work");
        stop.cancel();
        let told = timeout(SOON, supervisor.ended()).await.unwrap();
        assert_eq!(told, Err("two panicked: late".to_owned()));
        assert_eq!(why(&supervisor).await, "two panicked: late");
    }
}
