//! Which shard a key lives on.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

/// Fixed for ever: with another key every row would be looked for on another shard.
const KEY: &[u8; 16] = b"spillway-shards\0";

/// The shard of a key among `shards`, counted from 0: rendezvous hashing (Thaler and Ravishankar,
/// 1998). Every shard scores the key, by SipHash-2-4 of the shard's index (four bytes, little
/// endian) and the key, and the highest score wins.
///
/// A shard added at the end takes 1/n of the keys, and no key moves between the others. The order
/// of the shards is therefore part of the data: never reorder or remove, only append, and copy the
/// keys that move before the longer list is put in force.
#[must_use]
pub fn place(key: &str, shards: usize) -> usize {
    (0..shards).max_by_key(|&shard| score(key, shard)).unwrap_or(0)
}

fn score(key: &str, shard: usize) -> u64 {
    let mut hasher = SipHasher24::new_with_key(KEY);
    hasher.write(&u32::try_from(shard).unwrap_or(u32::MAX).to_le_bytes());
    hasher.write(key.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::place;

    fn keys() -> impl Iterator<Item = String> {
        (0..10_000).map(|i| format!("u{i:06}"))
    }

    /// A contract between versions: a row stays where it was written. The expected places come from a
    /// separate implementation of SipHash-2-4.
    #[test]
    fn places_are_fixed() {
        let places: Vec<usize> = keys().take(12).map(|key| place(&key, 5)).collect();
        assert_eq!(places, [4, 1, 4, 1, 3, 4, 4, 2, 2, 4, 0, 2]);
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0; 4];
        for key in keys() {
            counts[place(&key, 4)] += 1;
        }
        // 10,000 draws at 1/4: one standard deviation is 43.
        assert!(counts.iter().all(|n| (2_300..=2_700).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_shard_at_the_end_takes_its_part_and_moves_nothing_else() {
        let mut moved = 0;
        for key in keys() {
            let (before, after) = (place(&key, 4), place(&key, 5));
            if before != after {
                assert_eq!(after, 4, "{key} moved between old shards");
                moved += 1;
            }
        }
        assert!((1_800..=2_200).contains(&moved), "{moved}");
    }
}
