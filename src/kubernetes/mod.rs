//! Everything that is said to and heard from the API server.

mod front_proxy;
mod reviews;

pub use front_proxy::{
    AUTHENTICATION_CONFIG_MAP, AUTHENTICATION_NAMESPACE, BadEntry, FrontProxy, watch_front_proxy,
};
pub use reviews::{Access, Attributes, ReviewError, Reviews, User};
