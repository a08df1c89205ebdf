//! A rig with `hirl` as the extender of a second scheduler.

use anyhow::Result;
use jiff::Timestamp;

use super::rig::{Rig, SCHEDULER, shipped};
use crate::testbed::hirl::{self, Hirl};
use crate::testbed::judge::{Course, Limit, Room};
use crate::testbed::pki::{Identity, Leaf};
use crate::testbed::placing::{self, Budget, Choices};
use crate::testbed::requests::Requests;
use crate::testbed::scheduler::{Scheduler, Setup, USER};

/// What gives `hirl` the rights that its verbs need.
const RIGHTS: [&str; 3] = ["rbac.yaml", "gates/rbac.yaml", "reclaim/rbac.yaml"];

/// The rig, `hirl` and the scheduler that asks it.
pub(crate) struct Stand {
    /// The scheduler called [`SCHEDULER`], in strict mode.
    pub(crate) scheduler: Scheduler,
    /// The extender.
    pub(crate) hirl: Hirl,
    /// The cluster.
    pub(crate) rig: Rig,
}

impl Stand {
    /// Starts `hirl` and a strict scheduler on `rig`, whose nodes exist already, and waits until
    /// the first budget holds in the first shared pool.
    pub(crate) async fn start(
        rig: Rig,
        choices: &Choices<'_>,
        budgets: &[Budget<'_>],
        first_limit: i64,
    ) -> Result<Self> {
        let port = rig.plane.port();
        Self::start_behind(rig, port, choices, budgets, first_limit).await
    }

    /// The same with what listens on `port` between `hirl` and the API server.
    pub(crate) async fn start_behind(
        rig: Rig,
        port: u16,
        choices: &Choices<'_>,
        budgets: &[Budget<'_>],
        first_limit: i64,
    ) -> Result<Self> {
        hirl::install(&rig.plane).await?;
        shipped(&rig.plane, &RIGHTS).await?;
        for budget in budgets {
            budget.apply(&rig.plane).await?;
        }
        let config = |place: &hirl::Place| choices.config(&rig.plane, place);
        let mut server = Hirl::start_behind(&rig.plane, port, "hirl", config)?;
        server.ready().await?;
        let key = (budgets[0].domain, choices.shared[0]);
        placing::limited(&rig.plane, &server, key, first_limit).await?;
        let setup = Setup::new(SCHEDULER, Some(placing::extender(&server, "strict")));
        let scheduler = Scheduler::start(&rig.plane, "second-scheduler", &setup).await?;
        Ok(Self { scheduler, hirl: server, rig })
    }

    /// Sets a budget and waits until it holds in `pool`; gives the instants before and after.
    pub(crate) async fn set(
        &self,
        budget: &Budget<'_>,
        pool: &str,
        limit: i64,
    ) -> Result<(Timestamp, Timestamp)> {
        let before = Timestamp::now();
        budget.apply(&self.rig.plane).await?;
        placing::limited(&self.rig.plane, &self.hirl, (budget.domain, pool), limit).await?;
        Ok((before, Timestamp::now()))
    }

    /// Answers of `hirl` to one verb.
    pub(crate) async fn answers(&self, verb: &str) -> Result<f64> {
        let label = format!("verb=\"{verb}\"");
        self.hirl.metric(&self.rig.plane, "hirl_extender_verdicts_total", &label).await
    }

    /// Times that `hirl` refused a pod of a domain for want of budget.
    pub(crate) async fn refusals(&self, domain: &str) -> Result<f64> {
        let label = format!("domain=\"{domain}\"");
        // The sum of nothing is -0.
        Ok(0.0 + self.hirl.metric(&self.rig.plane, "hirl_extender_refusals_total", &label).await?)
    }

    /// Somebody who asks the extender as `identity`, or as nobody.
    pub(crate) fn extender_requests(&self, identity: Option<&Identity>) -> Result<Requests> {
        let url = format!("https://localhost:{}", self.hirl.place().spare_port);
        Requests::tls(url, self.rig.plane.pki().serving.pem(), identity)
    }

    /// Somebody who asks it as the scheduler.
    pub(crate) fn scheduler_requests(&self) -> Result<Requests> {
        let own = self.rig.plane.pki().cluster.issue(&Leaf::client(USER, &[]))?;
        self.extender_requests(Some(&own))
    }

    /// The mean time of an answer to one verb, in milliseconds, by its own histogram.
    pub(crate) async fn mean(&self, verb: &str) -> Result<f64> {
        let label = format!("verb=\"{verb}\"");
        let part = async |name: &str| {
            let name = format!("hirl_extender_duration_seconds_{name}");
            self.hirl.metric(&self.rig.plane, &name, &label).await
        };
        Ok(part("sum").await? / part("count").await? * 1e3)
    }

    /// Connections to it that are open.
    pub(crate) async fn connections(&self) -> Result<f64> {
        self.hirl.metric(&self.rig.plane, "hirl_extender_connections", "").await
    }

    /// How often it read its serving certificate anew.
    pub(crate) async fn reloads(&self) -> Result<f64> {
        let name = "hirl_extender_serving_cert_reloads_total";
        self.hirl.metric(&self.rig.plane, name, "").await
    }

    /// Fails unless the audit log shows no binding beyond `limits`, no pod bound twice, and no pod
    /// ended by the scheduler.
    pub(crate) fn judged(&self, limits: &[Limit]) -> Result<Course> {
        let course = self.rig.course()?;
        fair(&course, limits)?;
        Ok(course)
    }
}

/// Fails unless `course` has no binding beyond `limits`, no pod bound twice, and none ended by the
/// scheduler.
pub(crate) fn fair(course: &Course, limits: &[Limit]) -> Result<()> {
    let breaches = course.breaches(limits);
    anyhow::ensure!(breaches.is_empty(), "over budget: {}; of {}", breaches[0], breaches.len());
    anyhow::ensure!(course.bound_twice().is_empty(), "bound twice: {:?}", course.bound_twice());
    let ended = course.ended_by(USER);
    anyhow::ensure!(ended.is_empty(), "{} pods were ended by the scheduler", ended.len());
    Ok(())
}

/// A limit of CPU in thousandths of a core that never changes.
pub(crate) fn limit(domain: &str, pool: &str, cpu: i64) -> Limit {
    Limit::constant(domain, pool, Room::cpu(cpu))
}
