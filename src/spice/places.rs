//! Places that are shared out among origins, so that whoever takes many takes them from himself.

use std::collections::BTreeMap;

/// What holds places, by whose they are. Knows no limit: its owner asks who has to give one up.
///
/// INVARIANT: `held` counts the entries of `taken` by origin, and has no zeros.
#[derive(Debug)]
pub(crate) struct Places<O, T> {
    next: u64,
    /// By age: the smallest number is the oldest.
    taken: BTreeMap<u64, (O, T)>,
    held: BTreeMap<O, usize>,
}

impl<O, T> Default for Places<O, T> {
    fn default() -> Self {
        Self { next: 0, taken: BTreeMap::new(), held: BTreeMap::new() }
    }
}

impl<O: Copy + Ord, T> Places<O, T> {
    /// Takes a place for `origin`. Returns its number.
    pub(crate) fn take(&mut self, origin: O, value: T) -> u64 {
        let id = self.next;
        self.next += 1;
        self.taken.insert(id, (origin, value));
        *self.held.entry(origin).or_default() += 1;
        id
    }

    /// Frees a place. Returns what held it.
    pub(crate) fn free(&mut self, id: u64) -> Option<T> {
        let (origin, value) = self.taken.remove(&id)?;
        let held = self.held.get_mut(&origin)?;
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&origin);
        }
        Some(value)
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// How many places `origin` holds.
    pub(crate) fn held_by(&self, origin: O) -> usize {
        self.held.get(&origin).copied().unwrap_or_default()
    }

    /// What holds places, the oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, O, &T)> {
        self.taken.iter().map(|(id, (origin, value))| (*id, *origin, value))
    }

    /// The oldest place.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.taken.first_key_value().map(|(id, _)| *id)
    }

    /// The oldest place of `origin`.
    pub(crate) fn oldest_of(&self, origin: O) -> Option<u64> {
        self.iter().find(|(_, of, _)| *of == origin).map(|(id, ..)| id)
    }

    /// The newest place of `origin`.
    pub(crate) fn newest_of(&self, origin: O) -> Option<u64> {
        self.iter().rfind(|(_, of, _)| *of == origin).map(|(id, ..)| id)
    }

    /// The origin that holds most places; among equals, the one that holds the oldest.
    pub(crate) fn greediest(&self) -> Option<O> {
        let most = self.held.values().max()?;
        self.iter().map(|(_, origin, _)| origin).find(|origin| self.held_by(*origin) == *most)
    }

    /// The origin that holds fewest places; among equals, the one that holds the newest.
    pub(crate) fn most_modest(&self) -> Option<O> {
        let fewest = self.held.values().min()?;
        self.iter().rev().map(|(_, origin, _)| origin).find(|origin| self.held_by(*origin) == *fewest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_holds_most_is_asked_first_and_who_holds_fewest_is_served_first() {
        let mut places = Places::default();
        assert_eq!((places.greediest(), places.most_modest()), (None, None));
        let ids: Vec<u64> = ["a", "b", "b", "c", "b", "c"].map(|origin| places.take(origin, ())).into();
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
        fn the_counts_are_those_of_the_places(ops in proptest::collection::vec((0u8..4, 0u64..40, any::<bool>()), 0..100)) {
            let mut places = Places::default();
            for (origin, id, takes) in ops {
                if takes { places.take(origin, ()); } else { places.free(id); }
                for origin in 0..4 {
                    prop_assert_eq!(places.held_by(origin), places.iter().filter(|(_, of, _)| *of == origin).count());
                }
                let most = (0..4).map(|origin| places.held_by(origin)).max().unwrap_or_default();
                prop_assert_eq!(places.greediest().map_or(0, |origin| places.held_by(origin)), most);
            }
        }
    }
}
