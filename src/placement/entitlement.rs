//! Entitlement: who may take room in a shared pool, as one pure function of who uses how much of it now.
//! The ledger asks it for the real scheduler, the simulator for its own.
//!
//! With K the capacity that stands, K+ what the pool can still grow to, R the reserve, and of each
//! domain its use U, floor F and target T, a pod with the request r is entitled
//!
//! - within its domain's floor: `U + r <= F`, or
//! - if what is not to be moved for it leaves room:
//!   `U + r + higher and equal classes' U + lower classes' min(U, F) + R (unless P0) <= K+`,
//!   where R is open while lower classes borrow as much as r: the pod takes their place.
//!
//! What lower classes use above their floors is borrowed: it never stands in the way. Between domains
//! of one class targets decide: who stays within its target counts an equal at its target at the
//! most. A domain may borrow less than everything and lend less ([`crate::cluster::LoanLimit`]).

use super::Resource;
use crate::cluster::{Amount, Class};

/// One domain in one pool.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Claim {
    /// Priority class of the domain.
    pub class: Class,
    /// F: what is guaranteed to it.
    pub floor: Amount,
    /// T: its share of the pool, which divides between equals; never below its floor.
    pub target: Amount,
    /// U: what its pods request: held, being bound and bound, and promised by preemption.
    pub used: Amount,
    /// What those of its pods request that wait for room and go before the pod that asks.
    pub waiting: Amount,
    /// The most that it may use; none: no limit of its own.
    pub most: Option<Amount>,
    /// What others may not use although the domain does not: the part of its floor that it does not lend.
    pub kept: Amount,
}

/// One shared pool.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// K+: what the pool can still grow to; K where that is not known.
    pub growth: Amount,
    /// R: only for P0 and for domains in an emergency.
    pub reserve: Amount,
    /// The domains.
    pub claims: &'a [Claim],
}

/// A pod that asks for room.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Position of its domain in [`Room::claims`].
    pub domain: usize,
    /// The class of the pod. No pod ranks above its domain.
    pub class: Class,
    /// Its request.
    pub request: Amount,
    /// Whether its domain is in an emergency, so that the reserve is open to it.
    pub emergency: bool,
}

/// Why a pod is not entitled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Its domain may borrow no more.
    Borrowing(Resource),
    /// Domains of its class and above, and floors, use what there is.
    Full(Resource),
    /// Only the reserve is left.
    Reserve(Resource),
}

impl Denial {
    /// The resource that ran out.
    #[must_use]
    pub const fn resource(self) -> Resource {
        match self {
            Self::Borrowing(resource) | Self::Full(resource) | Self::Reserve(resource) => resource,
        }
    }
}

impl Asker {
    /// The class by which the pod is judged.
    #[must_use]
    pub fn rank(&self, room: &Room<'_>) -> Class {
        self.class.max(room.claims[self.domain].class)
    }
}

/// What the pod leaves free in the pool for others of its kind, or why it is not entitled to its room.
pub fn entitlement(room: &Room<'_>, asker: &Asker) -> Result<Amount, Denial> {
    let own = &room.claims[asker.domain];
    let used = own.used + asker.request;
    let beyond = beyond_the_floor(room, asker, used);
    if used.fits(own.floor) {
        let left = own.floor.less(used);
        return Ok(beyond.map_or(left, |more| more.max(left)));
    }
    beyond
}

fn beyond_the_floor(room: &Room<'_>, asker: &Asker, used: Amount) -> Result<Amount, Denial> {
    let own = &room.claims[asker.domain];
    if let Some(most) = own.most
        && let Some(resource) = used.exceeds(most)
    {
        return Err(Denial::Borrowing(resource));
    }
    let rank = asker.rank(room);
    let within = used.fits(own.target);
    let mut taken = used;
    let mut borrowed = Amount::ZERO;
    for (other, claim) in room.claims.iter().enumerate() {
        if other != asker.domain {
            taken += counted(claim, own.class, rank, within);
            if claim.class > rank {
                borrowed += claim.used.less(claim.floor);
            }
        }
    }
    if let Some(resource) = taken.exceeds(room.growth) {
        return Err(Denial::Full(resource));
    }
    let mut left = room.growth.less(taken);
    if rank != Class::P0 && !asker.emergency {
        let closed = closed_reserve(room.reserve, borrowed, asker.request);
        if let Some(resource) = (taken + closed).exceeds(room.growth) {
            return Err(Denial::Reserve(resource));
        }
        left = left.less(room.reserve.less(borrowed)).max(left.min(borrowed.less(asker.request)));
    }
    Ok(own.most.map_or(left, |most| left.min(most.less(used))))
}

/// The part of the reserve that is closed to a request: what lower classes do not stand in; and nothing
/// while they borrow as much as the request, whose place it then takes. Otherwise it would wait for
/// whoever may use the reserve, behind a lower class that holds more than its floor.
fn closed_reserve(reserve: Amount, borrowed: Amount, request: Amount) -> Amount {
    let closed = |reserve: u64, borrowed: u64, request: u64| {
        if borrowed > 0 && request <= borrowed { 0 } else { reserve.saturating_sub(borrowed) }
    };
    Amount {
        cpu_milli: closed(reserve.cpu_milli, borrowed.cpu_milli, request.cpu_milli),
        memory: closed(reserve.memory, borrowed.memory, request.memory),
    }
}

/// What one other domain counts for a pod of `rank` whose domain has the class `own` and stays `within`
/// its target or not.
fn counted(other: &Claim, own: Class, rank: Class, within: bool) -> Amount {
    let counts = if other.class > rank {
        other.used.min(other.floor)
    } else if other.class == own && rank == own {
        if within {
            other.used.min(other.target)
        } else {
            // Beyond its own target a pod stands behind an equal's pods that wait within theirs.
            other.used + other.waiting.min(other.target.less(other.used))
        }
    } else {
        other.used + other.waiting
    };
    counts.max(other.kept)
}

/// Whether a domain keeps its floor without `request` of its use, so that a higher class may have it. A
/// domain is above its floor while it is in CPU or in memory.
#[must_use]
pub fn may_lose(claim: &Claim, request: Amount) -> bool {
    let (left, floor) = (claim.used.less(request), claim.floor);
    left.cpu_milli >= floor.cpu_milli || left.memory >= floor.memory
}

/// Floors as shares of one pool that can be kept together: where they sum to more than what is left beside
/// the reserve, those of higher classes come first, and equals are scaled in proportion.
#[must_use]
pub fn floors(claims: &[(Class, f64)], reserve: f64) -> Vec<f64> {
    let mut kept = vec![0.0; claims.len()];
    let mut left = (1.0 - reserve).clamp(0.0, 1.0);
    for class in Class::ALL {
        let of = || claims.iter().enumerate().filter(move |(_, (one, _))| *one == class);
        let sum: f64 = of().map(|(_, (_, floor))| floor.max(0.0)).sum();
        let part = if sum > left { left / sum } else { 1.0 };
        for (index, (_, floor)) in of() {
            kept[index] = floor.max(0.0) * part;
        }
        left = (left - sum * part).max(0.0);
    }
    kept
}

impl Amount {
    /// The resource of which this is more than `room`, CPU first.
    fn exceeds(self, room: Self) -> Option<Resource> {
        if self.cpu_milli > room.cpu_milli {
            Some(Resource::Cpu)
        } else if self.memory > room.memory {
            Some(Resource::Memory)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpu(cpu_milli: u64) -> Amount {
        Amount { cpu_milli, memory: 0 }
    }

    fn claim(class: Class, floor: u64, target: u64, used: u64) -> Claim {
        let (floor, target, used) = (cpu(floor), cpu(target), cpu(used));
        Claim { class, floor, target, used, ..Claim::default() }
    }

    /// What domain `domain` finds of a pool of 100 with a reserve of 5 after one more pod of 10.
    fn ask(claims: &[Claim], domain: usize) -> Result<u64, Denial> {
        let room = Room { growth: cpu(100), reserve: cpu(5), claims };
        let class = claims[domain].class;
        let asker = Asker { domain, class, request: cpu(10), emergency: false };
        entitlement(&room, &asker).map(|left| left.cpu_milli)
    }

    #[test]
    fn what_lower_classes_borrow_never_stands_in_the_way() {
        let claims = [claim(Class::P0, 20, 40, 30), claim(Class::P3, 10, 20, 70)];
        assert_eq!(ask(&claims, 0), Ok(100 - 40 - 10));
        // Nor a target, however small.
        let claims = [claim(Class::P0, 0, 0, 30), claim(Class::P3, 10, 90, 70)];
        assert_eq!(ask(&claims, 0), Ok(50));
        // The lower class sees everything.
        assert_eq!(ask(&claims, 1), Err(Denial::Full(Resource::Cpu)));
    }

    #[test]
    fn a_floor_is_always_open_to_its_domain() {
        let claims = [claim(Class::P0, 20, 40, 95), claim(Class::P3, 10, 20, 0)];
        assert_eq!(ask(&claims, 1), Ok(0));
        assert_eq!(
            ask(&[claims[0], claim(Class::P3, 10, 20, 1)], 1),
            Err(Denial::Full(Resource::Cpu))
        );
    }

    #[test]
    fn the_reserve_is_for_p0_and_emergencies() {
        let claims = [claim(Class::P1, 0, 100, 86), claim(Class::P3, 0, 0, 0)];
        assert_eq!(ask(&claims, 0), Err(Denial::Reserve(Resource::Cpu)));
        assert_eq!(ask(&[claim(Class::P0, 0, 100, 86)], 0), Ok(4));
        let room = Room { growth: cpu(100), reserve: cpu(5), claims: &claims };
        let asker = Asker { domain: 0, class: Class::P1, request: cpu(10), emergency: true };
        assert_eq!(entitlement(&room, &asker), Ok(cpu(4)));
        // No pod ranks above its domain.
        let forged = Asker { class: Class::P0, emergency: false, ..asker };
        assert_eq!(entitlement(&room, &forged), Err(Denial::Reserve(Resource::Cpu)));
    }

    #[test]
    fn nobody_waits_at_the_reserve_while_a_lower_class_borrows_as_much_as_it_asks_for() {
        // P0 stands in the reserve, and so does what P3 has above its floor.
        let claims = |borrowed: u64| {
            let lower = claim(Class::P3, 5, 5, 5 + borrowed);
            [claim(Class::P0, 0, 50, 50), claim(Class::P2, 0, 30, 34), lower]
        };
        assert_eq!(ask(&claims(12), 1), Ok(1));
        assert_eq!(ask(&claims(0), 1), Err(Denial::Reserve(Resource::Cpu)));
        assert_eq!(
            ask(&claims(2), 1),
            Err(Denial::Reserve(Resource::Cpu)),
            "less than it asks for"
        );
        let fuller = [claim(Class::P0, 0, 50, 52), claims(12)[1], claims(12)[2]];
        assert_eq!(ask(&fuller, 1), Err(Denial::Full(Resource::Cpu)));
    }

    #[test]
    fn between_equals_targets_decide() {
        // Within its target a pod sees its equal at its target at the most, ...
        let claims = [claim(Class::P1, 0, 45, 30), claim(Class::P1, 0, 45, 60)];
        assert_eq!(ask(&claims, 0), Ok(100 - 40 - 45 - 5));
        // ... beyond it as it is, and behind what waits within the other's.
        let claims = [claim(Class::P1, 0, 45, 50), claim(Class::P1, 0, 45, 20)];
        assert_eq!(ask(&claims, 0), Ok(100 - 60 - 20 - 5));
        let waits = Claim { waiting: cpu(40), ..claims[1] };
        assert_eq!(ask(&[claims[0], waits], 0), Err(Denial::Full(Resource::Cpu)));
    }

    #[test]
    fn what_waits_with_a_better_right_is_counted() {
        let waits = Claim { waiting: cpu(60), ..claim(Class::P0, 0, 50, 20) };
        let claims = [waits, claim(Class::P3, 0, 50, 10)];
        assert_eq!(ask(&claims, 1), Err(Denial::Reserve(Resource::Cpu)));
        assert_eq!(ask(&claims, 0), Ok(70));
    }

    #[test]
    fn borrowing_and_lending_have_limits_where_a_domain_says_so() {
        let capped = Claim { most: Some(cpu(35)), ..claim(Class::P2, 0, 35, 30) };
        assert_eq!(ask(&[capped], 0), Err(Denial::Borrowing(Resource::Cpu)));
        let miser = Claim { kept: cpu(50), ..claim(Class::P3, 50, 50, 0) };
        assert_eq!(ask(&[claim(Class::P0, 0, 0, 45), miser], 0), Err(Denial::Full(Resource::Cpu)));
        assert_eq!(ask(&[claim(Class::P0, 0, 0, 45), Claim { kept: cpu(0), ..miser }], 0), Ok(45));
    }

    #[test]
    fn floors_that_do_not_fit_are_kept_by_class_and_scaled_among_equals() {
        let kept = floors(&[(Class::P3, 0.5), (Class::P0, 0.6), (Class::P3, 0.5)], 0.1);
        assert!((kept[1] - 0.6).abs() < 1e-9 && (kept[0] - 0.15).abs() < 1e-9, "{kept:?}");
        assert_eq!(floors(&[(Class::P1, 0.2), (Class::P2, 0.3)], 0.1), [0.2, 0.3]);
        assert_eq!(floors(&[(Class::P1, 0.2), (Class::P2, f64::NAN)], 1.5), [0.0, 0.0]);
    }

    #[test]
    fn a_domain_may_lose_what_it_has_above_its_floor() {
        let claim = claim(Class::P3, 20, 50, 30);
        assert!(may_lose(&claim, cpu(10)));
        assert!(!may_lose(&Claim { floor: Amount { cpu_milli: 20, memory: 1 }, ..claim }, cpu(11)));
    }

    fn claims() -> impl Strategy<Value = Vec<Claim>> {
        let one = (0..4_usize, 0..30_u64, 0..60_u64, 0..60_u64, 0..20_u64);
        prop::collection::vec(one, 1..8).prop_map(|all| {
            let shares: Vec<(Class, f64)> = all
                .iter()
                .map(|(class, floor, ..)| (Class::ALL[*class], *floor as f64 / 100.0))
                .collect();
            let floors = floors(&shares, 0.05);
            let all = all.into_iter().zip(floors);
            all.map(|((class, _, target, used, waiting), floor)| Claim {
                waiting: cpu(waiting),
                ..claim(Class::ALL[class], (floor * 100.0) as u64, target, used)
            })
            .collect()
        })
    }

    proptest! {
        /// The statement that the rule is made for: whoever is not entitled finds the pool full of its
        /// own class, higher classes and floors; nothing that is borrowed below it is among that.
        #[test]
        fn nothing_borrowed_by_a_lower_class_is_ever_a_reason(claims in claims(), at in any::<prop::sample::Index>()) {
            let domain = at.index(claims.len());
            let room = Room { growth: cpu(100), reserve: cpu(5), claims: &claims };
            let asker = Asker { domain, class: claims[domain].class, request: cpu(10), emergency: false };
            let without: Vec<Claim> = claims
                .iter()
                .map(|one| {
                    let borrowed = one.class > claims[domain].class;
                    Claim { used: if borrowed { one.used.min(one.floor) } else { one.used }, ..*one }
                })
                .collect();
            let without = entitlement(&Room { claims: &without, ..room }, &asker);
            prop_assert!(without.is_err() || entitlement(&room, &asker).is_ok());
        }

        /// Admitting whoever is entitled never brings the classes above a rank, and the floors below it,
        /// beyond what the pool can grow to.
        #[test]
        fn admission_never_overcommits_what_nobody_may_take_back(
            mut claims in claims(),
            asks in prop::collection::vec((any::<prop::sample::Index>(), 1..15_u64), 1..60),
        ) {
            for claim in &mut claims {
                claim.used = Amount::ZERO;
                claim.waiting = Amount::ZERO;
                claim.target = claim.target.max(claim.floor);
            }
            for (at, request) in asks {
                let domain = at.index(claims.len());
                let asker =
                    Asker { domain, class: claims[domain].class, request: cpu(request), emergency: false };
                let room = Room { growth: cpu(100), reserve: cpu(5), claims: &claims };
                let granted = entitlement(&room, &asker).is_ok();
                let (own, class) = (claims[domain].used + asker.request, claims[domain].class);
                if granted && !own.fits(claims[domain].floor) && !own.fits(claims[domain].target) {
                    let others = claims.iter().enumerate().filter(|(other, _)| *other != domain);
                    let fixed: u64 = others
                        .map(|(_, one)| if one.class > class { one.used.min(one.floor) } else { one.used }.cpu_milli)
                        .sum();
                    prop_assert!(fixed + own.cpu_milli <= 100);
                }
                if granted {
                    claims[domain].used += asker.request;
                }
            }
        }
    }
}
