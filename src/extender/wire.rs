//! The extender protocol: Go structs without JSON tags, so the keys are the Go field names, and
//! `null` may stand wherever Go has a pointer, a slice or a map. Names are borrowed from the body.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kubernetes::AskedPod;

/// A name out of a request; `null` is the empty name, as Go reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed("")))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

/// Request of `filter` and `prioritize`.
#[derive(Debug, Deserialize)]
pub(super) struct Args<'a> {
    /// The pod.
    #[serde(rename = "Pod", default)]
    pub(super) pod: Option<AskedPod>,
    /// Whole nodes, which we do not read.
    #[serde(rename = "Nodes", default)]
    pub(super) nodes: Option<IgnoredAny>,
    /// Names of nodes.
    #[serde(rename = "NodeNames", default, borrow)]
    pub(super) names: Option<Vec<Name<'a>>>,
}

/// Request of `preempt`.
#[derive(Debug, Deserialize)]
pub(super) struct PreemptArgs<'a> {
    /// The pod that wants room.
    #[serde(rename = "Pod", default)]
    pub(super) pod: Option<AskedPod>,
    /// Victims as whole pods, which we do not read.
    #[serde(rename = "NodeNameToVictims", default)]
    pub(super) whole: Option<IgnoredAny>,
    /// Victims by node.
    #[serde(rename = "NodeNameToMetaVictims", default, borrow)]
    pub(super) victims: Option<ByNode<'a>>,
}

/// Victims by node, in the order of the request.
#[derive(Debug, Default)]
pub(super) struct ByNode<'a>(pub(super) Vec<(Name<'a>, Victims<'a>)>);

/// Victims on one node.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Victims<'a> {
    #[serde(rename = "Pods", default, borrow)]
    pods: Option<Vec<Option<Victim<'a>>>>,
    /// Disruption budgets that would be broken.
    #[serde(rename = "NumPDBViolations", default)]
    violations: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Victim<'a> {
    #[serde(rename = "UID", default, borrow)]
    uid: Option<Name<'a>>,
}

impl Victims<'_> {
    /// Identities of the victims.
    pub(super) fn uids(&self) -> Vec<&str> {
        let pods = self.pods.iter().flatten();
        pods.map(|pod| pod.as_ref().and_then(|pod| pod.uid.as_ref()).map_or("", |uid| uid.as_ref()))
            .collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ByNode<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = ByNode<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a map of nodes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByNode<'de>, A::Error> {
                let mut all: Vec<(Name<'de>, Victims<'de>)> = Vec::new();
                while let Some((node, victims)) =
                    map.next_entry::<Name<'de>, Option<Victims<'de>>>()?
                {
                    all.push((node, victims.unwrap_or_default()));
                }
                // A node named twice could be granted by the one and evicted by the other.
                let mut names: Vec<&str> = all.iter().map(|(node, _)| node.as_ref()).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(A::Error::custom("a node is named twice"));
                }
                Ok(ByNode(all))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

/// Request of `bind`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct BindArgs {
    /// Name of the pod.
    #[serde(rename = "PodName", default)]
    name: Option<String>,
    /// Its namespace.
    #[serde(rename = "PodNamespace", default)]
    namespace: Option<String>,
    /// Its identity.
    #[serde(rename = "PodUID", default)]
    uid: Option<String>,
    /// The node.
    #[serde(rename = "Node", default)]
    node: Option<String>,
}

/// What is to be bound, nothing of it empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToBind {
    /// Namespace of the pod.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its identity.
    pub(super) uid: String,
    /// The node.
    pub(super) node: String,
}

impl BindArgs {
    /// Everything, or the field that is missing.
    pub(super) fn complete(self) -> Result<ToBind, &'static str> {
        let given = |text: Option<String>, field| text.filter(|text| !text.is_empty()).ok_or(field);
        Ok(ToBind {
            namespace: given(self.namespace, "PodNamespace")?,
            name: given(self.name, "PodName")?,
            uid: given(self.uid, "PodUID")?,
            node: given(self.node, "Node")?,
        })
    }
}

/// Some of the names of a request, by position.
#[derive(Debug)]
pub(super) enum Chosen<'a> {
    /// All of them.
    All(&'a [Name<'a>]),
    /// These; a position that does not exist is passed over.
    These(&'a [Name<'a>], &'a [u32]),
}

impl Serialize for Chosen<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All(names) => out.collect_seq(names.iter().map(AsRef::as_ref)),
            Self::These(names, chosen) => {
                let mut list = out.serialize_seq(Some(chosen.len()))?;
                for name in chosen.iter().filter_map(|&at| names.get(at as usize)) {
                    list.serialize_element(name.as_ref())?;
                }
                list.end()
            }
        }
    }
}

/// Node names, each with the same text.
#[derive(Debug)]
pub(super) struct Failed<'a> {
    /// The nodes.
    pub(super) names: &'a [Name<'a>],
    /// Why.
    pub(super) why: &'a str,
}

impl Serialize for Failed<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.names.len()))?;
        for name in self.names {
            map.serialize_entry(name.as_ref(), self.why)?;
        }
        map.end()
    }
}

/// Answer of `filter`, every field present.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FilterResult<'a> {
    nodes: (),
    node_names: Chosen<'a>,
    failed_nodes: Empty,
    failed_and_unresolvable_nodes: Failed<'a>,
    error: &'a str,
}

#[derive(Debug, Serialize)]
struct Empty {}

impl<'a> FilterResult<'a> {
    /// These nodes.
    pub(super) fn nodes(names: Chosen<'a>) -> Self {
        Self {
            nodes: (),
            node_names: names,
            failed_nodes: Empty {},
            failed_and_unresolvable_nodes: Failed { names: &[], why: "" },
            error: "",
        }
    }

    /// No node; why, for these.
    pub(super) fn failed(failed: Failed<'a>) -> Self {
        Self { failed_and_unresolvable_nodes: failed, ..Self::nodes(Chosen::All(&[])) }
    }

    /// No answer; the pod comes back later.
    pub(super) fn error(error: &'a str) -> Self {
        Self { error, ..Self::nodes(Chosen::All(&[])) }
    }
}

/// One score of `prioritize`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostPriority<'a> {
    /// The node.
    pub(super) host: &'a str,
    /// 0 to 10.
    pub(super) score: u8,
}

/// Answer of `preempt`: the candidates that remain, with their victims as they came.
#[derive(Debug, Serialize)]
pub(super) struct PreemptResult<'a> {
    /// By node.
    #[serde(rename = "NodeNameToMetaVictims")]
    pub(super) victims: Kept<'a>,
}

/// The candidates that remain, each with the victims offered or others in their place.
#[derive(Debug)]
pub(super) struct Kept<'a>(pub(super) Vec<KeptNode<'a>>);

/// A candidate with the victims offered, and others in their place.
type KeptNode<'a> = (&'a (Name<'a>, Victims<'a>), Option<Vec<Arc<str>>>);

#[derive(Serialize)]
struct KeptVictims<'a> {
    #[serde(rename = "Pods")]
    pods: Vec<KeptVictim<'a>>,
    #[serde(rename = "NumPDBViolations")]
    violations: i64,
}

#[derive(Serialize)]
struct KeptVictim<'a> {
    #[serde(rename = "UID")]
    uid: &'a str,
}

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.0.iter().map(|((node, victims), instead)| {
            let offered = victims.violations.unwrap_or_default();
            let (uids, violations) = match instead {
                // Nobody has counted theirs: a node where all is known goes first.
                Some(others) => (others.iter().map(|uid| &**uid).collect(), offered.max(1)),
                None => (victims.uids(), offered),
            };
            let pods = uids.into_iter().map(|uid| KeptVictim { uid }).collect();
            (node.as_ref(), KeptVictims { pods, violations })
        }))
    }
}

/// Answer of `bind`; an empty error means that the pod is bound.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BindResult<'a> {
    /// What went wrong.
    pub(super) error: &'a str,
}
