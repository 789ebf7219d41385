//! Places that are shared out among owners, so that one that takes many takes them from itself.

use std::collections::BTreeMap;

/// Taken places, by whose they are. There is no limit here: whoever keeps it decides who has to give one up.
///
/// INVARIANT: `held` counts the entries of `taken` by owner, and has no zeros.
#[derive(Debug)]
pub(crate) struct PlacesByOwner<O, T> {
    next: u64,
    /// By age: the smallest number is the oldest.
    taken: BTreeMap<u64, (O, T)>,
    held: BTreeMap<O, usize>,
}

impl<O, T> Default for PlacesByOwner<O, T> {
    fn default() -> Self {
        Self { next: 0, taken: BTreeMap::new(), held: BTreeMap::new() }
    }
}

impl<O: Copy + Ord, T> PlacesByOwner<O, T> {
    /// Returns the number of the place that is taken next.
    pub(crate) fn next_place(&self) -> u64 {
        self.next
    }

    /// Takes a place for `owner`. Returns its number.
    pub(crate) fn take(&mut self, owner: O, value: T) -> u64 {
        let id = self.next;
        self.next += 1;
        self.taken.insert(id, (owner, value));
        *self.held.entry(owner).or_default() += 1;
        id
    }

    /// Frees place `id`. Returns the value that held it.
    pub(crate) fn free(&mut self, id: u64) -> Option<T> {
        let (owner, value) = self.taken.remove(&id)?;
        let held = self.held.get_mut(&owner)?;
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&owner);
        }
        Some(value)
    }

    /// Returns the number of places taken.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Returns the number of places that `owner` holds.
    pub(crate) fn held_by(&self, owner: O) -> usize {
        self.held.get(&owner).copied().unwrap_or_default()
    }

    /// Returns all places with owner and value, the oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, O, &T)> {
        self.taken.iter().map(|(id, (owner, value))| (*id, *owner, value))
    }

    /// Returns the oldest place.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.taken.first_key_value().map(|(id, _)| *id)
    }

    /// Returns the oldest place of `owner`.
    pub(crate) fn oldest_of(&self, owner: O) -> Option<u64> {
        self.iter().find(|(_, of, _)| *of == owner).map(|(id, ..)| id)
    }

    /// Returns the newest place of `owner`.
    pub(crate) fn newest_of(&self, owner: O) -> Option<u64> {
        self.iter().rfind(|(_, of, _)| *of == owner).map(|(id, ..)| id)
    }

    /// Returns the owner that holds most places; among equals, the one that holds the oldest.
    pub(crate) fn greediest(&self) -> Option<O> {
        let most = self.held.values().max()?;
        self.iter().map(|(_, owner, _)| owner).find(|owner| self.held_by(*owner) == *most)
    }

    /// Returns the owner that holds fewest places; among equals, the one that holds the newest.
    pub(crate) fn most_modest(&self) -> Option<O> {
        let fewest = self.held.values().min()?;
        self.iter().rev().map(|(_, owner, _)| owner).find(|owner| self.held_by(*owner) == *fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_holds_most_is_asked_first_and_who_holds_fewest_is_served_first() {
        let mut places = PlacesByOwner::default();
        assert_eq!((places.greediest(), places.most_modest()), (None, None));
        let ids: Vec<u64> = ["a", "b", "b", "c", "b", "c"].map(|owner| places.take(owner, ())).into();
        assert_eq!((places.greediest(), places.most_modest()), (Some("b"), Some("a")));
        assert_eq!((places.oldest_of("b"), places.newest_of("b")), (Some(ids[1]), Some(ids[4])));
        places.free(ids[1]);
        assert_eq!(places.greediest(), Some("b"), "as many as c, and the oldest of them");
        places.free(ids[0]);
        assert_eq!(places.most_modest(), Some("c"), "as few as b, and the newest of them");
        assert_eq!((places.len(), places.held_by("a"), places.free(ids[0])), (4, 0, None));
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_places(
            ops in proptest::collection::vec((0u8..4, 0u64..40, any::<bool>()), 0..100),
        ) {
            let mut places = PlacesByOwner::default();
            for (owner, id, takes) in ops {
                if takes { places.take(owner, ()); } else { places.free(id); }
                for owner in 0..4 {
                    prop_assert_eq!(places.held_by(owner), places.iter().filter(|(_, of, _)| *of == owner).count());
                }
                let most = (0..4).map(|owner| places.held_by(owner)).max().unwrap_or_default();
                prop_assert_eq!(places.greediest().map_or(0, |owner| places.held_by(owner)), most);
            }
        }
    }
}
