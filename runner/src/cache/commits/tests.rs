use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cache::{Limits, Looked, Operation};

/// A journal that takes commits in some order, and what a start makes of it.
#[derive(Default, Clone)]
struct Journal(BTreeMap<String, Bytes>);

impl Journal {
    fn commit(&mut self, records: &mut Vec<Record>) {
        for Record { key, value } in records.drain(..) {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    fn restart(&self, owner: &Owner, now: DateTime<Utc>) -> (Mirror, Vec<Record>) {
        let mut mirror = Mirror::new(Limits::TRIGGERS, Keeping::Recorded);
        let owners = BTreeMap::from([(owner.trigger.as_ref().clone(), owner.clone())]);
        let mut gone = Vec::new();
        for kind in [Kind::Cached, Kind::Shared] {
            let found = self.0.iter().filter(|(key, _)| key.starts_with(&kind.prefix()));
            gone.append(&mut mirror.load(kind, found.map(|(k, v)| (k.clone(), v.clone())).collect(), &owners, now));
        }
        (mirror, gone)
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn owner(origin: u64) -> Owner {
    Owner { trigger: Arc::new(TriggerId::new("db", "t")), origin }
}

fn put(key: &str, version: u64, ttl: Option<u64>) -> CacheChange {
    let operation =
        Operation::Put { version, value: Bytes::from_static(b"v"), expires_in: ttl.map(Duration::from_secs) };
    CacheChange { namespace: Namespace::Trigger, key: key.to_owned(), operation }
}

fn version(mirror: &mut Mirror, owner: &Owner, key: &str) -> Option<u64> {
    match mirror.look(owner, Namespace::Trigger, key, 0, at(50)) {
        Looked::Found { version, .. } => Some(version),
        Looked::Absent | Looked::Unchanged => None,
    }
}

#[test]
fn what_is_committed_is_there_after_a_restart_as_long_as_it_has_not_expired() {
    let a = owner(1);
    let mut journal = Journal::default();
    let mut mirror = journal.restart(&a, at(0)).0;
    let changes = vec![put("k", 1, None), put("short", 1, Some(10)), put("long", 1, Some(100)), put("k", 2, None)];
    let (mut prepared, _) = mirror.prepare(&a, changes, at(0));
    assert_eq!(version(&mut mirror, &a, "k"), None, "nothing is seen before it is committed");
    journal.commit(&mut prepared.records);
    assert!(!mirror.settle(prepared, true));
    assert_eq!(version(&mut mirror, &a, "k"), Some(2));
    let (mut after, gone) = journal.restart(&a, at(50));
    assert_eq!(["k", "short", "long"].map(|key| version(&mut after, &a, key)), [Some(2), None, Some(1)]);
    let Looked::Found { expires_in, .. } = after.look(&a, Namespace::Trigger, "long", 0, at(60)) else { panic!() };
    assert_eq!(expires_in, Some(Duration::from_secs(40)), "by the clock on the wall");
    assert_eq!(gone.len(), 1, "the record of what has expired goes");
    // One that was enabled anew, and one that is not there any more, have nothing.
    let (mut anew, gone) = journal.restart(&owner(2), at(50));
    assert_eq!((version(&mut anew, &owner(2), "k"), gone.len()), (None, 3));
}

#[test]
fn a_commit_that_failed_changes_nothing_and_what_it_may_have_left_is_recorded_over() {
    let a = owner(1);
    let mut journal = Journal::default();
    let mut mirror = journal.restart(&a, at(0)).0;
    mirror.keep(&a, put("k", 1, None), at(0)).unwrap();
    let (mut prepared, _) = mirror.prepare(&a, vec![put("k", 2, None)], at(0));
    // The answer was lost on the way.
    journal.commit(&mut prepared.records);
    assert!(mirror.settle(prepared, false));
    assert_eq!(version(&mut mirror, &a, "k"), Some(1));
    let mut again = mirror.unsaved(usize::MAX);
    journal.commit(&mut again.records);
    assert!(!mirror.settle(again, true));
    assert_eq!(version(&mut journal.restart(&a, at(50)).0, &a, "k"), Some(1));
}

#[test]
fn a_commit_takes_along_what_was_changed_before_it_and_is_not_recorded_yet() {
    let a = owner(1);
    let mut journal = Journal::default();
    let mut mirror = journal.restart(&a, at(0)).0;
    mirror.keep(&a, put("before", 1, None), at(0)).unwrap();
    let saving = mirror.unsaved(usize::MAX);
    let (mut prepared, _) = mirror.prepare(&a, vec![put("k", 1, None)], at(0));
    journal.commit(&mut prepared.records);
    let mut after = journal.restart(&a, at(50)).0;
    assert_eq!([version(&mut after, &a, "before"), version(&mut after, &a, "k")], [Some(1), Some(1)]);
    mirror.settle(saving, false);
    mirror.settle(prepared, true);
    assert_eq!(mirror.unsaved(usize::MAX).records.len(), 1, "the save that failed is repeated");
}

#[test]
fn what_is_recorded_at_a_time_has_a_limit() {
    let a = owner(1);
    let mut mirror = Journal::default().restart(&a, at(0)).0;
    for key in ["a", "b", "c"] {
        mirror.keep(&a, put(key, 1, None), at(0)).unwrap();
    }
    let first = mirror.unsaved(1);
    assert_eq!((first.records.len(), mirror.unsaved(usize::MAX).records.len()), (1, 2));
}

/// Commits that overlap, in whatever order they come to be: when nothing is under way any more, a start finds what memory has.
#[test]
fn whatever_overlaps_a_start_finds_what_memory_has() {
    let a = owner(1);
    for seed in 0..2_000 {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut journal = Journal::default();
        let mut mirror = journal.restart(&a, at(0)).0;
        let mut under_way: Vec<Changes> = Vec::new();
        let change = |chance: &mut fastrand::Rng| {
            let key = ["x", "y"][chance.usize(0..2)];
            match chance.u8(0..4) {
                0 => CacheChange { operation: Operation::Delete, ..put(key, 0, None) },
                _ => put(key, chance.u64(1..), None),
            }
        };
        for _ in 0..30 {
            match chance.u8(0..5) {
                0 => mirror.keep(&a, change(&mut chance), at(0)).unwrap(),
                1 => under_way.push(mirror.prepare(&a, vec![change(&mut chance)], at(0)).0),
                2 => under_way.push(mirror.unsaved(usize::MAX)),
                _ if under_way.is_empty() => {}
                3 => {
                    // Comes to be, while its end is not known yet.
                    let one = chance.usize(..under_way.len());
                    journal.commit(&mut under_way[one].records);
                }
                _ => {
                    let mut one = under_way.swap_remove(chance.usize(..under_way.len()));
                    let is_done = one.records.is_empty() || chance.bool();
                    if is_done {
                        journal.commit(&mut one.records);
                    }
                    mirror.settle(one, is_done && chance.u8(0..8) > 0);
                }
            }
        }
        for mut one in under_way {
            journal.commit(&mut one.records);
            mirror.settle(one, true);
        }
        for _ in 0..3 {
            let mut rest = mirror.unsaved(usize::MAX);
            journal.commit(&mut rest.records);
            mirror.settle(rest, true);
        }
        let mut after = journal.restart(&a, at(50)).0;
        for key in ["x", "y"] {
            let (there, here) = (version(&mut after, &a, key), version(&mut mirror, &a, key));
            assert_eq!(there, here, "seed {seed}, {key}");
        }
        assert!(mirror.unsaved(usize::MAX).records.is_empty(), "seed {seed}");
    }
}
