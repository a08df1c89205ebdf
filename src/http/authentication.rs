//! Turns a connection's certificate and a request's headers into who is asking.
//!
//! In order: the front proxy (the API server, which names its user in headers), an ordinary
//! client certificate, a bearer token, nobody. Identity headers from anybody else than the front
//! proxy are never read. Credentials that are shown and not good are 401, not anonymous.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};

use super::identity::{Digest, Fields, Identity, Standing};
use super::remembered::{Known, Lifetime, Remembered, Source};
use super::route;
use super::settings::{Settings, span};
use super::status::ApiError;
use super::trust::{Proof, Trust};
use crate::instruments::{Instruments, OutcomeLabel};
use crate::kubernetes::{FrontProxy, Reviews, User};

/// How long the judgement of a certificate holds on a connection, so that one that runs out is
/// noticed on a connection that lives on.
const JUDGEMENT: Duration = Duration::from_secs(30);

/// What we know about one connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    chain: Vec<CertificateDer<'static>>,
    seen: Mutex<Seen>,
}

/// What earlier requests of the connection have brought to light.
#[derive(Debug, Default)]
struct Seen {
    judged: Option<Judged>,
    last: Option<Last>,
}

#[derive(Debug, Clone)]
struct Judged {
    trust: Arc<Trust>,
    at: Instant,
    holder: Holder,
}

/// Who holds the certificate of a connection.
#[derive(Debug, Clone)]
enum Holder {
    FrontProxy,
    User(Arc<Identity>),
    Nobody,
    Refused,
}

/// The last identity that was not the certificate's own. Requests of one connection mostly come
/// from one user, and comparing a few headers is cheaper than reading them.
#[derive(Debug)]
enum Last {
    Headers(Vec<(HeaderName, HeaderValue)>, Arc<Identity>),
    Token(HeaderValue, Arc<Identity>, Instant),
}

impl Connection {
    /// A connection whose client showed this chain, leaf first; empty when it showed none.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, seen: Mutex::default() }
    }

    /// The certificates, leaf first.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Establishes identities.
#[derive(Debug)]
pub(super) struct Authenticator {
    front_proxy: watch::Receiver<Option<Arc<FrontProxy>>>,
    trust: RwLock<Option<Arc<Trust>>>,
    reviews: Reviews,
    tokens: Remembered<Option<Arc<Identity>>>,
    token_lifetime: Duration,
    deny_lifetime: Duration,
    standing: Arc<Standing>,
    anonymous: Arc<Identity>,
    instruments: Arc<Instruments>,
}

impl Authenticator {
    /// Reads identities as `front_proxy` says, and asks `reviews` about tokens.
    pub(super) fn new(
        settings: &Settings,
        front_proxy: watch::Receiver<Option<Arc<FrontProxy>>>,
        reviews: Reviews,
        at_once: Arc<Semaphore>,
        instruments: Arc<Instruments>,
    ) -> Self {
        let standing = Standing {
            always_allow_groups: settings.always_allow_groups.clone(),
            hpa_users: settings.hpa_users.clone(),
        };
        let timeout = span(settings.review_seconds);
        Self {
            front_proxy,
            trust: RwLock::default(),
            reviews,
            tokens: Remembered::new(settings.max_remembered, timeout, Duration::ZERO, at_once),
            token_lifetime: span(settings.token_seconds),
            deny_lifetime: span(settings.deny_seconds.min(settings.token_seconds)),
            anonymous: Arc::new(standing.anonymous()),
            standing: Arc::new(standing),
            instruments,
        }
    }

    /// Whether the API server's word on whom to believe has arrived.
    pub(super) fn is_configured(&self) -> bool {
        self.front_proxy.borrow().is_some()
    }

    /// Who is asking.
    pub(super) async fn identify(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
    ) -> Result<Arc<Identity>, ApiError> {
        let holder = self.holder(connection);
        let refused = match holder {
            Some(Holder::FrontProxy) => match self.front_proxy_user(connection, headers)? {
                Some(identity) => return Ok(identity),
                // The front proxy itself is no user.
                None => true,
            },
            Some(Holder::User(identity)) => return Ok(identity),
            Some(Holder::Nobody) => false,
            Some(Holder::Refused) | None => true,
        };
        if let Some(token) =
            headers.get(AUTHORIZATION).and_then(|value| bearer(value).map(|token| (value, token)))
        {
            return self.token_holder(connection, token.0, token.1).await;
        }
        match (refused, holder) {
            (false, _) => Ok(Arc::clone(&self.anonymous)),
            (true, None) => Err(ApiError::unavailable(
                "client certificates cannot be judged yet: the API server's authentication ConfigMap was not read",
            )),
            (true, Some(_)) => Err(ApiError::unauthorized()),
        }
    }

    /// Who holds the connection's certificate; `None` when there is one and it cannot be judged
    /// yet.
    fn holder(&self, connection: &Connection) -> Option<Holder> {
        if connection.chain.is_empty() {
            return Some(Holder::Nobody);
        }
        let trust = self.trust()?;
        let known = connection.seen(|seen| {
            let judged = seen.judged.as_ref()?;
            (Arc::ptr_eq(&judged.trust, &trust) && judged.at.elapsed() < JUDGEMENT)
                .then(|| judged.holder.clone())
        });
        if known.is_some() {
            return known;
        }
        let holder = match trust.judge(&connection.chain) {
            Proof::FrontProxy => Holder::FrontProxy,
            Proof::User(user) => Holder::User(Arc::new(self.standing.authenticated(user))),
            Proof::Nothing => Holder::Nobody,
            Proof::Refused => Holder::Refused,
        };
        let judged = Judged { trust, at: Instant::now(), holder: holder.clone() };
        connection.seen(|seen| *seen = Seen { judged: Some(judged), last: None });
        Some(holder)
    }

    /// The trust that belongs to the newest version of the `ConfigMap`.
    fn trust(&self) -> Option<Arc<Trust>> {
        let newest = self.front_proxy.borrow().clone()?;
        let current = |trust: &Option<Arc<Trust>>| {
            trust.as_ref().filter(|trust| Arc::ptr_eq(&trust.front_proxy, &newest)).map(Arc::clone)
        };
        if let Some(trust) = current(&self.trust.read().unwrap_or_else(PoisonError::into_inner)) {
            return Some(trust);
        }
        let mut kept = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(trust) = current(&kept) {
            return Some(trust);
        }
        let trust = Arc::new(Trust::new(newest));
        *kept = Some(Arc::clone(&trust));
        Some(trust)
    }

    fn front_proxy_user(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Identity>>, ApiError> {
        let Some(trust) = self.trust() else {
            return Ok(None);
        };
        let names = &trust.front_proxy;
        let known = connection.seen(|seen| match &seen.last {
            Some(Last::Headers(kept, identity))
                if kept
                    .iter()
                    .map(|(name, value)| (name, value))
                    .eq(headers.iter().filter(|(name, _)| speaks_of_user(names, name))) =>
            {
                Some(Arc::clone(identity))
            }
            _ => None,
        });
        if known.is_some() {
            return Ok(known);
        }
        let Some(user) = user_from_headers(names, headers)? else {
            return Ok(None);
        };
        let identity = Arc::new(self.standing.authenticated(user));
        let kept = headers
            .iter()
            .filter(|(name, _)| speaks_of_user(names, name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        connection.seen(|seen| seen.last = Some(Last::Headers(kept, Arc::clone(&identity))));
        Ok(Some(identity))
    }

    async fn token_holder(
        &self,
        connection: &Connection,
        value: &HeaderValue,
        token: &str,
    ) -> Result<Arc<Identity>, ApiError> {
        let now = Instant::now();
        let known = connection.seen(|seen| match &seen.last {
            Some(Last::Token(kept, identity, until)) if *until > now && kept == value => {
                Some(Arc::clone(identity))
            }
            _ => None,
        });
        if let Some(identity) = known {
            return Ok(identity);
        }
        let key = Fields::of("token").and(token).finish();
        let known = match self.tokens.fresh(&key, now) {
            Some(known) => known,
            None => Box::pin(self.review_token(key, token)).await?,
        };
        let identity = known.value.ok_or_else(ApiError::unauthorized)?;
        let last = Last::Token(value.clone(), Arc::clone(&identity), known.fresh_until);
        connection.seen(|seen| seen.last = Some(last));
        Ok(identity)
    }

    async fn review_token(
        &self,
        key: Digest,
        token: &str,
    ) -> Result<Known<Option<Arc<Identity>>>, ApiError> {
        let review = self.reviews.token_review(token);
        let standing = Arc::clone(&self.standing);
        let review = || async move {
            let user = review.await.map_err(|error| error.to_string())?;
            Ok(user.map(|user| Arc::new(standing.authenticated(user))))
        };
        let (good, bad) = (self.token_lifetime, self.deny_lifetime);
        let lifetime = move |holder: &Option<Arc<Identity>>| {
            let fresh = if holder.is_some() { good } else { bad };
            Lifetime { fresh, usable: fresh }
        };
        let outcome = self.tokens.ask(key, review, lifetime).await;
        let name = match &outcome {
            Ok((_, Source::Shared)) => "coalesced",
            Ok((known, _)) if known.value.is_some() => "allowed",
            Ok(_) => "denied",
            Err(_) => "error",
        };
        self.instruments.reviews.get_or_create(&OutcomeLabel { outcome: name }).inc();
        outcome.map(|(known, _)| known).map_err(|error| {
            ApiError::unavailable(format!("the bearer token could not be checked: {error}"))
        })
    }
}

/// The token of an `Authorization` header; `None` for other schemes, which we do not know.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn speaks_of_user(names: &FrontProxy, header: &HeaderName) -> bool {
    let header = header.as_str();
    let is = |list: &[String]| list.iter().any(|name| name == header);
    is(&names.username_headers)
        || is(&names.group_headers)
        || is(&names.uid_headers)
        || names.extra_prefixes.iter().any(|prefix| header.starts_with(prefix.as_str()))
}

/// The user that a front proxy names; `None` when it names nobody.
fn user_from_headers(names: &FrontProxy, headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    // Names may hold any character, but not bytes that are no text.
    let text = |value: &HeaderValue| {
        std::str::from_utf8(value.as_bytes())
            .map(str::to_owned)
            .map_err(|_| ApiError::unauthorized())
    };
    let first = |list: &[String]| -> Result<String, ApiError> {
        let value =
            list.iter().filter_map(|name| headers.get(name)).find(|value| !value.is_empty());
        value.map_or(Ok(String::new()), text)
    };
    let name = first(&names.username_headers)?;
    if name.is_empty() {
        return Ok(None);
    }
    let mut user = User { name, uid: first(&names.uid_headers)?, ..User::default() };
    for header in &names.group_headers {
        for value in headers.get_all(header) {
            user.groups.push(text(value)?);
        }
    }
    user.groups.retain(|group| !group.is_empty());
    for prefix in names.extra_prefixes.iter().filter(|prefix| !prefix.is_empty()) {
        for (header, value) in headers {
            let Some(key) = header.as_str().strip_prefix(prefix.as_str()) else {
                continue;
            };
            // Header names arrive in lower case; what an escape hides is lowered too.
            let key = route::unescape(key, false)
                .map_or_else(|| key.to_owned(), |key| key.to_lowercase());
            user.extra.entry(key).or_default().push(text(value)?);
        }
    }
    Ok(Some(user))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> FrontProxy {
        FrontProxy {
            username_headers: vec!["x-remote-user".into(), "x-other-user".into()],
            uid_headers: vec!["x-remote-uid".into()],
            group_headers: vec!["x-remote-group".into()],
            extra_prefixes: vec!["x-remote-extra-".into()],
            ..FrontProxy::default()
        }
    }

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_front_proxy_names_user_uid_groups_and_extras() {
        let read = user_from_headers(
            &names(),
            &headers(&[
                ("X-Remote-User", ""),
                ("X-Other-User", "eve"),
                ("X-Remote-Uid", "42"),
                ("X-Remote-Group", "a"),
                ("X-Remote-Group", "b"),
                ("X-Remote-Extra-Example.com%2FScopes", "one"),
                ("X-Remote-Extra-Example.com%2FScopes", "two"),
                ("X-Unrelated", "z"),
            ]),
        )
        .unwrap()
        .unwrap();
        assert_eq!((read.name.as_str(), read.uid.as_str()), ("eve", "42"));
        assert_eq!(read.groups, ["a", "b"]);
        let scopes = vec!["one".to_owned(), "two".to_owned()];
        assert_eq!(
            read.extra.into_iter().collect::<Vec<_>>(),
            [("example.com/scopes".to_owned(), scopes)]
        );
    }

    #[test]
    fn a_header_that_the_cluster_does_not_name_is_not_read() {
        let unlisted = FrontProxy { uid_headers: Vec::new(), ..names() };
        let all = headers(&[("X-Remote-User", "u"), ("X-Remote-Uid", "42")]);
        assert_eq!(user_from_headers(&unlisted, &all).unwrap().unwrap().uid, "");
        assert_eq!(user_from_headers(&FrontProxy::default(), &all).unwrap(), None);
    }

    #[test]
    fn only_the_bearer_scheme_holds_a_token() {
        let read = |value: &str| bearer(&HeaderValue::from_str(value).unwrap()).map(str::to_owned);
        assert_eq!(read("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("bearer  abc ").as_deref(), Some("abc"));
        for other in ["Bearer", "Bearer ", "Basic abc", "abc", ""] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_headers_panic(
            all in proptest::collection::vec(
                ("(x-remote-(user|group|uid|extra-[a-z%0-9]{0,6})|authorization)",
                 proptest::collection::vec(any::<u8>(), 0..20)),
                0..8,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                let name = HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                    headers.append(name, value);
                }
            }
            let _ = user_from_headers(&names(), &headers);
            let _ = headers.get(AUTHORIZATION).and_then(bearer).map(str::len);
        }
    }
}
