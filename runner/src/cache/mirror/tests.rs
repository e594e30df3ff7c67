use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::trigger::TriggerId;

const SMALL: Limits = Limits { entries_max: 2, namespace_bytes_max: 100, bytes_max: 150 };

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner { trigger: Arc::new(TriggerId::new("db", name)), origin: 1 }
}

fn mirror() -> Mirror {
    Mirror::new(SMALL, Keeping::Recorded)
}

fn put(namespace: Namespace, key: &str, version: u64, bytes: usize, ttl: Option<u64>) -> CacheChange {
    let (value, expires_in) = (vec![b'x'; bytes].into(), ttl.map(Duration::from_secs));
    CacheChange { namespace, key: key.to_owned(), operation: Operation::Put { version, value, expires_in } }
}

fn version(looked: Looked) -> Option<u64> {
    match looked {
        Looked::Found { version, .. } => Some(version),
        Looked::Absent | Looked::Unchanged => None,
    }
}

#[test]
fn entries_belong_to_their_trigger_or_to_all() {
    let (a, b) = (owner("a"), owner("b"));
    let mut mirror = mirror();
    mirror.keep(&a, put(Namespace::Trigger, "k", 1, 5, None), at(0)).unwrap();
    mirror.keep(&a, put(Namespace::Global, "k", 2, 5, None), at(0)).unwrap();
    assert_eq!(version(mirror.look(&a, Namespace::Trigger, "k", 0, at(1))), Some(1));
    assert_eq!(mirror.look(&b, Namespace::Trigger, "k", 0, at(1)), Looked::Absent);
    let again = Owner { origin: 2, ..a.clone() };
    assert_eq!(mirror.look(&again, Namespace::Trigger, "k", 0, at(1)), Looked::Absent, "it was enabled anew");
    assert_eq!(version(mirror.look(&b, Namespace::Global, "k", 0, at(1))), Some(2));
    assert_eq!(mirror.look(&b, Namespace::Global, "k", 2, at(1)), Looked::Unchanged);
    assert_eq!((mirror.is_empty(&a, at(1)), mirror.is_empty(&b, at(1))), (false, true));
    assert_eq!(mirror.forget(&a).len(), 1, "its record goes");
    assert!(mirror.is_empty(&a, at(1)));
    assert_eq!(version(mirror.look(&a, Namespace::Global, "k", 0, at(1))), Some(2), "what is shared stays");
}

#[test]
fn entries_expire_and_a_new_value_has_a_time_of_its_own() {
    let a = owner("a");
    let mut mirror = mirror();
    mirror.keep(&a, put(Namespace::Trigger, "k", 1, 5, Some(10)), at(0)).unwrap();
    let Looked::Found { expires_in, .. } = mirror.look(&a, Namespace::Trigger, "k", 0, at(4)) else {
        panic!("it is there")
    };
    assert_eq!(expires_in, Some(Duration::from_secs(6)));
    assert_eq!(mirror.look(&a, Namespace::Trigger, "k", 1, at(10)), Looked::Absent);
    mirror.keep(&a, put(Namespace::Trigger, "k", 2, 5, Some(10)), at(20)).unwrap();
    mirror.keep(&a, put(Namespace::Trigger, "k", 3, 5, None), at(21)).unwrap();
    assert_eq!(version(mirror.look(&a, Namespace::Trigger, "k", 0, at(1000))), Some(3));
}

#[test]
fn limits_refuse_after_what_has_expired_made_room() {
    let (a, b) = (owner("a"), owner("b"));
    let mut mirror = mirror();
    mirror.keep(&a, put(Namespace::Trigger, "1", 1, 50, Some(10)), at(0)).unwrap();
    mirror.keep(&a, put(Namespace::Trigger, "2", 1, 5, None), at(0)).unwrap();
    let refused = mirror.keep(&a, put(Namespace::Trigger, "3", 1, 5, None), at(1)).unwrap_err();
    assert_eq!(refused.to_string(), "cache entry '3' is not kept: cache_entries_max of 2 exceeded: 3 asked for");
    mirror.keep(&a, put(Namespace::Trigger, "3", 1, 5, None), at(10)).unwrap();
    let refused = mirror.keep(&a, put(Namespace::Trigger, "3", 2, 99, None), at(10)).unwrap_err();
    assert_eq!((refused.limit, refused.asked), ("cache_namespace_bytes_max", 106));
    assert_eq!(mirror.look(&a, Namespace::Trigger, "3", 0, at(10)), Looked::Absent, "the old value is not the entry's");
    mirror.keep(&b, put(Namespace::Trigger, "1", 1, 90, None), at(10)).unwrap();
    let refused = mirror.keep(&a, put(Namespace::Trigger, "3", 2, 80, None), at(10)).unwrap_err();
    assert_eq!(refused.limit, "cache_bytes_max");
    let delete = CacheChange { namespace: Namespace::Trigger, key: "1".to_owned(), operation: Operation::Delete };
    mirror.keep(&b, delete, at(10)).unwrap();
    mirror.keep(&a, put(Namespace::Trigger, "3", 2, 80, None), at(10)).unwrap();
}

#[test]
fn commits_under_way_count_against_the_limits() {
    let a = owner("a");
    let mut mirror = mirror();
    let (first, refused) = mirror.prepare(&a, vec![put(Namespace::Trigger, "1", 1, 60, None)], at(0));
    assert_eq!(refused, []);
    let (second, refused) = mirror.prepare(&a, vec![put(Namespace::Trigger, "2", 1, 60, None)], at(0));
    assert_eq!(refused[0].limit, "cache_namespace_bytes_max");
    mirror.settle(first, false);
    mirror.settle(second, true);
    let (third, refused) = mirror.prepare(&a, vec![put(Namespace::Trigger, "2", 2, 60, None)], at(0));
    assert_eq!(refused, []);
    mirror.settle(third, true);
    assert_eq!(version(mirror.look(&a, Namespace::Trigger, "2", 0, at(1))), Some(2));
}

#[test]
fn what_is_only_tried_is_kept_for_a_while_and_recorded_nowhere() {
    let a = owner("a");
    let mut mirror = Mirror::new(SMALL, Keeping::For(Duration::from_secs(60)));
    mirror.keep(&a, put(Namespace::Trigger, "k", 1, 5, None), at(0)).unwrap();
    mirror.keep(&a, put(Namespace::Trigger, "l", 1, 5, Some(90)), at(0)).unwrap();
    assert_eq!(version(mirror.look(&a, Namespace::Trigger, "k", 0, at(59))), Some(1));
    assert_eq!(mirror.look(&a, Namespace::Trigger, "k", 0, at(60)), Looked::Absent);
    assert_eq!(version(mirror.look(&a, Namespace::Trigger, "l", 0, at(60))), Some(1));
    assert!(mirror.unsaved(usize::MAX).records.is_empty());
}
