//! The seed tree: every random number of a run has a place in it, so that one more draw here
//! changes nothing there.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// What a seed is for. Seeds of different spaces never meet, whatever their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Data that forecasters learn from.
    Forecaster,
    /// The search for the constants of the baselines.
    Tuning,
    /// Training of policies.
    Training,
    /// Gates between the stages of training.
    Gates,
    /// The final set: run once per release.
    Final,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 5] =
        [Self::Forecaster, Self::Tuning, Self::Training, Self::Gates, Self::Final];

    /// The name on command lines and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forecaster => "forecaster",
            Self::Tuning => "tuning",
            Self::Training => "training",
            Self::Gates => "gates",
            Self::Final => "final",
        }
    }
}

/// A node of the seed tree.
///
/// A node is a 64-bit number made of its path, so that two nodes agree with a chance of 2^-64
/// each pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The tree of one number, outside every named space: for demonstrations and tests.
    #[must_use]
    pub const fn root(number: u64) -> Self {
        Self(mixed(number ^ 0x6A09_E667_F3BC_C909))
    }

    /// The tree of one number in a named space.
    #[must_use]
    pub fn of(space: Space, number: u64) -> Self {
        Self::root(0).child("space").child(space.as_str()).nth(number)
    }

    /// The node `name` below this one.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        // FNV-1a over the name, then mixed with the parent: order and length both count.
        let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self(mixed(self.0.rotate_left(23) ^ mixed(hash ^ name.len() as u64)))
    }

    /// The node with this number below this one.
    #[must_use]
    pub const fn nth(self, number: u64) -> Self {
        Self(mixed(self.0.rotate_left(41) ^ mixed(number ^ 0x3C6E_F372_FE94_F82B)))
    }

    /// A generator that starts here, always in the same place.
    #[must_use]
    pub fn rng(self) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(self.0)
    }

    /// A draw that belongs to a number: the same for the same number in any order of asking, and
    /// without a generator to keep.
    #[must_use]
    pub const fn draw(self, number: u64) -> Draw {
        Draw(mixed(self.0 ^ mixed(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))))
    }
}

/// 64 random bits, and what can be made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// Uniform, 0 included and 1 not.
    #[must_use]
    pub fn uniform(self) -> f64 {
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number from 0 to below `end`, each as often; 0 where there is none.
    #[must_use]
    pub fn below(self, end: usize) -> usize {
        (self.uniform() * end as f64) as usize
    }

    /// Mean 0, deviation 1, and close to normal within three deviations: the sum of four uniform
    /// numbers of 16 bits. It never exceeds 3.47, which suits noise and not tails.
    #[must_use]
    pub fn gauss(self) -> f64 {
        let sum =
            (self.0 & 0xFFFF) + (self.0 >> 16 & 0xFFFF) + (self.0 >> 32 & 0xFFFF) + (self.0 >> 48);
        // Four numbers of 0..=65535 have the mean 131070 and the variance (2^32 - 1) / 3.
        (sum as f64 - 131_070.0) / 37_837.227_4
    }

    /// Another draw that belongs to this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(mixed(self.0 ^ 0xA54F_F53A_5F1D_36F1))
    }
}

/// The finaliser of `SplitMix64`: every bit of the input moves every bit of the output.
const fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_xoshiro::rand_core::Rng;

    use super::*;

    #[test]
    fn no_two_places_of_the_tree_share_a_seed() {
        let mut seen = BTreeSet::new();
        for space in Space::ALL {
            for number in 0..2000 {
                let root = Seed::of(space, number);
                assert!(seen.insert(root.0), "{space:?} {number}");
                for name in ["traffic", "nodes", "", "a", "ab"] {
                    assert!(seen.insert(root.child(name).0), "{space:?} {number} {name}");
                    assert!(seen.insert(root.child(name).nth(0).0), "{space:?} {number} {name}");
                }
            }
        }
        for number in 0..2000 {
            assert!(seen.insert(Seed::root(number).0), "root {number}");
        }
    }

    #[test]
    fn order_and_borders_of_names_count() {
        let root = Seed::root(1);
        assert_ne!(root.child("a").child("b"), root.child("b").child("a"));
        assert_ne!(root.child("ab").child("c"), root.child("a").child("bc"));
        assert_eq!(root.child("a"), Seed::root(1).child("a"));
    }

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        // A change here changes every published result.
        let mut rng = Seed::of(Space::Final, 3).child("traffic").rng();
        assert_eq!(
            [rng.next_u64(), rng.next_u64()],
            [17_190_054_602_926_866_357, 17_704_376_983_326_176_085]
        );
    }

    #[test]
    fn draws_have_the_moments_they_promise() {
        let seed = Seed::root(7);
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        let count = 100_000;
        for number in 0..count {
            let draw = seed.draw(number);
            mean += draw.gauss();
            square += draw.gauss().powi(2);
            uniform += draw.next().uniform();
        }
        let count = count as f64;
        assert!((mean / count).abs() < 0.015, "{}", mean / count);
        assert!((square / count - 1.0).abs() < 0.02, "{}", square / count);
        assert!((uniform / count - 0.5).abs() < 0.005, "{}", uniform / count);
    }
}
