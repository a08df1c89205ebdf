//! Somebody whose identity was established, with what the hot path asks about them worked out
//! once.

use crate::kubernetes::User;

/// SHA-256: what is remembered about users is found by it, and none can be made to collide.
pub(super) type Digest = [u8; 32];

/// Collects fields for a digest such that no two lists of fields look alike.
#[derive(Clone)]
pub(super) struct Fields(ring::digest::Context);

impl Fields {
    /// Starts with what kind of thing is collected.
    pub(super) fn of(kind: &str) -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256)).and(kind)
    }

    /// Adds a field.
    pub(super) fn and(mut self, field: &str) -> Self {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field.as_bytes());
        self
    }

    /// Adds the number of fields that follow.
    pub(super) fn count(mut self, count: usize) -> Self {
        self.0.update(&(count as u64).to_le_bytes());
        self
    }

    /// Adds another digest.
    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.update(digest);
        self
    }

    /// The digest.
    pub(super) fn finish(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// Name of somebody without credentials.
const ANONYMOUS: &str = "system:anonymous";
/// Group of those without credentials.
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group of everybody else.
const AUTHENTICATED: &str = "system:authenticated";

/// A user, and what follows from who they are.
#[derive(Debug)]
pub(super) struct Identity {
    /// Who.
    pub(super) user: User,
    /// Of everything in `user`.
    pub(super) digest: Digest,
    /// May do everything without a review.
    pub(super) always_allowed: bool,
    /// Reads for the HPA controller.
    pub(super) reads_for_hpa: bool,
}

/// What is known about users beforehand.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Groups that may do everything.
    pub(super) always_allow_groups: Vec<String>,
    /// Users who read for the HPA controller.
    pub(super) hpa_users: Vec<String>,
}

impl Standing {
    /// Somebody without credentials.
    pub(super) fn anonymous(&self) -> Identity {
        self.identity(User {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..User::default()
        })
    }

    /// Somebody whose credentials were good. The API server sends some of its own requests
    /// without any group, and RBAC grants discovery to this one.
    pub(super) fn authenticated(&self, mut user: User) -> Identity {
        let known = [AUTHENTICATED, UNAUTHENTICATED];
        if !user.groups.iter().any(|group| known.contains(&group.as_str())) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        self.identity(user)
    }

    fn identity(&self, user: User) -> Identity {
        let mut fields = Fields::of("user").and(&user.name).and(&user.uid).count(user.groups.len());
        for group in &user.groups {
            fields = fields.and(group);
        }
        for (key, values) in &user.extra {
            fields = fields.and(key).count(values.len());
            for value in values {
                fields = fields.and(value);
            }
        }
        Identity {
            digest: fields.finish(),
            always_allowed: user
                .groups
                .iter()
                .any(|group| self.always_allow_groups.contains(group)),
            reads_for_hpa: self.hpa_users.contains(&user.name),
            user,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: &str, groups: &[&str], extra: &[(&str, &[&str])]) -> User {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        User {
            name: name.to_owned(),
            uid: uid.to_owned(),
            groups: owned(groups),
            extra: extra.iter().map(|(key, values)| ((*key).to_owned(), owned(values))).collect(),
        }
    }

    #[test]
    fn whoever_differs_in_anything_has_another_digest() {
        let users = [
            user("a", "", &[], &[]),
            user("ab", "", &[], &[]),
            user("a", "b", &[], &[]),
            user("a", "", &["b"], &[]),
            user("a", "", &["b", "c"], &[]),
            user("a", "", &["bc"], &[]),
            user("a", "", &["b"], &[("c", &[])]),
            user("a", "", &[], &[("b", &["c"])]),
            user("a", "", &[], &[("b", &["c", "d"])]),
            user("a", "", &[], &[("b", &["c"]), ("d", &[])]),
        ];
        let standing = Standing::default();
        let mut digests: Vec<Digest> =
            users.iter().map(|user| standing.authenticated(user.clone()).digest).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), users.len());
    }

    #[test]
    fn good_credentials_make_an_authenticated_user_once() {
        let standing =
            Standing { always_allow_groups: vec!["g".into()], hpa_users: vec!["h".into()] };
        let plain = standing.authenticated(user("h", "", &[], &[]));
        assert_eq!(plain.user.groups, [AUTHENTICATED]);
        assert!(plain.reads_for_hpa && !plain.always_allowed);
        let twice = standing.authenticated(user("x", "", &[AUTHENTICATED, "g"], &[]));
        assert_eq!(twice.user.groups, [AUTHENTICATED, "g"]);
        assert!(twice.always_allowed && !twice.reads_for_hpa);
        assert_eq!(standing.anonymous().user.groups, [UNAUTHENTICATED]);
    }
}
