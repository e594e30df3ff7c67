//! The cache between the worker and the runner's copies.

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::cache_change::Operation;
use bulkhead_proto::worker::v1::cache_get_response::State;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{CacheGetResponse, CacheNamespace, CachePut};

use crate::world::{Ended, World, request_event};

/// The changes of a call: namespace, key and operation.
fn changes(ended: &Ended) -> Vec<(CacheNamespace, &str, &Operation)> {
    let mut changes: Vec<_> = ended
        .cached
        .iter()
        .filter_map(|cached| cached.change.as_ref())
        .map(|change| (change.namespace(), change.key.as_str(), change.operation.as_ref().unwrap()))
        .collect();
    changes.sort_by_key(|(_, key, _)| *key);
    changes
}

fn put(operation: &Operation) -> &CachePut {
    match operation {
        Operation::Put(put) => put,
        other => panic!("no put but {other:?}"),
    }
}

on_every_python! {
    async fn what_a_call_touched_is_sent_at_its_end_if_it_differs(python) {
        let mut world = World::start(python).await;
        world.prepare_cache(false, true);
        let ended = world.respond("
c = influxdb3_local.cache
c.put('list', [1]); c.put('text', 'x', ttl=100); c.put('gone', 1); c.delete('gone')
c.put('lock', __import__('threading').Lock()); c.put('large', 'x' * 20000)
return ''").await;
        let seen = changes(&ended);
        let keys: Vec<_> = seen.iter().map(|(_, key, _)| *key).collect();
        assert_eq!(keys, ["gone", "large", "list", "lock", "text"]);
        assert!(matches!(seen[0].2, Operation::Delete(_)));
        assert!(matches!(seen[1].2, Operation::LiveOnly(live) if live.reason.starts_with("cache_entry_bytes_max of 10000 bytes exceeded: ")));
        assert!(matches!(seen[3].2, Operation::LiveOnly(live) if live.reason.starts_with("TypeError: cannot pickle '_thread.lock' object")));
        assert!(put(seen[2].2).expires_in.is_none());
        assert_eq!(put(seen[4].2).expires_in.as_ref().unwrap().seconds, 99);

        let ended = world.respond("c = influxdb3_local.cache\nc.get('text')\nc.get('lock')\nreturn repr(c.get('list'))").await;
        assert_eq!((ended.body().as_str(), changes(&ended).len()), ("[1]", 0), "nothing was changed");
        let ended = world.respond("influxdb3_local.cache.get('list').append(2)\nreturn ''").await;
        assert_eq!(changes(&ended).len(), 1, "the object was");
        let ended = world.respond("influxdb3_local.cache.put('late', 1)\nraise ValueError").await;
        assert_eq!(ended.failure().kind(), FailureKind::Exception);
        assert_eq!(changes(&ended).len(), 1, "an exception takes nothing back");
    }

    async fn a_new_worker_reads_the_copies_of_the_last_one(python) {
        let source = "
class State:
    def __init__(self): self.n = 1
def process_request(api, q, h, b, args=None):
    state = api.cache.get('state')
    if state is None:
        state = State(); api.cache.put('state', state)
    state.n += 1
    return repr((state.n, isinstance(state, State), api.cache.get('state') is state, api.cache.get('other')))
";
        let mut first = World::start(python).await;
        first.prepare_cache(false, true);
        first.load_source(source).await;
        let ended = first.request().await;
        assert_eq!(ended.body(), "(2, True, True, None)");
        // The class is a new one at every call, and the object has the old one; its copy is made all the same.
        let ended = first.request().await;
        assert_eq!(ended.body(), "(3, False, True, None)");
        let copy = put(changes(&ended)[0].2).clone();

        let mut second = World::start(python).await;
        second.prepare_cache(false, false);
        second.load_source(source).await;
        let id = second.invoke(request_event(), false).await;
        let asked = second.peer.cache.recv().await.unwrap();
        assert_eq!((asked.request.key.as_str(), asked.request.namespace(), asked.request.known_version), ("state", CacheNamespace::Trigger, 0));
        let found = CacheGetResponse { state: State::Found.into(), version: copy.version, value: copy.value.clone(), expires_in: None };
        asked.answer.send(found).unwrap();
        let asked = second.peer.cache.recv().await.unwrap();
        assert_eq!(asked.request.key, "other");
        asked.answer.send(CacheGetResponse { state: State::Absent.into(), ..CacheGetResponse::default() }).unwrap();
        let ended = second.end_of(id).await;
        assert_eq!(ended.body(), "(4, True, True, None)");
        assert_eq!(changes(&ended).len(), 1);
        // From here on it knows, and asks no more.
        assert_eq!(second.request().await.body(), "(5, False, True, None)");
    }

    async fn an_entry_that_others_may_change_is_asked_for_by_its_version(python) {
        let mut world = World::start(python).await;
        world.prepare_cache(true, false);
        let ended = world.respond("influxdb3_local.cache.put('k', [1])\nreturn repr(influxdb3_local.cache.get('k'))").await;
        assert_eq!(ended.body(), "[1]", "its own change is not asked for");
        let mine = put(changes(&ended)[0].2).clone();

        world.load_request("return repr(influxdb3_local.cache.get('k'))").await;
        let id = world.invoke(request_event(), false).await;
        let asked = world.peer.cache.recv().await.unwrap();
        assert_eq!(asked.request.known_version, mine.version);
        asked.answer.send(CacheGetResponse { state: State::Unchanged.into(), ..CacheGetResponse::default() }).unwrap();
        assert_eq!(world.end_of(id).await.body(), "[1]");

        let id = world.invoke(request_event(), false).await;
        let pickled = b"\x80\x04]\x94K\x02a.";
        let theirs = CacheGetResponse { state: State::Found.into(), version: 7, value: pickled.to_vec().into(), expires_in: None };
        world.peer.cache.recv().await.unwrap().answer.send(theirs).unwrap();
        assert_eq!(world.end_of(id).await.body(), "[2]");

        let id = world.invoke(request_event(), false).await;
        let asked = world.peer.cache.recv().await.unwrap();
        assert_eq!(asked.request.known_version, 7);
        asked.answer.send(CacheGetResponse { state: State::Absent.into(), ..CacheGetResponse::default() }).unwrap();
        assert_eq!(world.end_of(id).await.body(), "None");
    }

    async fn the_global_namespace_carries_plain_data(python) {
        let mut world = World::start(python).await;
        world.prepare_cache(false, true);
        let ended = world.respond("
import datetime, decimal, uuid
c = influxdb3_local.cache
value = [None, True, 2**70, 1.5, 'é', b'\\x00', (1, {'k': {1, 2}}), frozenset([3]), datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.time(1, 2), datetime.timedelta(1), decimal.Decimal('1.5'), uuid.UUID(int=1)]
c.put('plain', value, use_global=True)
said = []
for bad in (object(), lambda: 1, 1j, type('D', (dict,), {})()):
    try:
        c.put('bad', bad, use_global=True)
    except TypeError as error:
        said.append(str(error).partition(':')[0])
from bulkhead_worker import cache_codec
return repr((cache_codec.decode(cache_codec.encode(value)) == value, said))").await;
        assert_eq!(ended.body(), "(True, [\"the global cache takes plain data only, not 'object'\", \"the global cache takes plain data only, not 'function'\", \"the global cache takes plain data only, not 'complex'\", \"the global cache takes plain data only, not 'request_plugin.D'\"])");
        let seen = changes(&ended);
        assert_eq!((seen.len(), seen[0].0, seen[0].1), (1, CacheNamespace::Global, "plain"));
        assert!(!put(seen[0].2).value.starts_with(b"\x80"), "no pickle");

        // Nothing that another trigger wrote can run code here.
        world.load_request("return repr(influxdb3_local.cache.get('k', 'default', use_global=True))").await;
        let id = world.invoke(request_event(), false).await;
        let asked = world.peer.cache.recv().await.unwrap();
        assert_eq!(asked.request.namespace(), CacheNamespace::Global);
        let evil = b"cos\nsystem\n(S'true'\ntR.".to_vec();
        asked.answer.send(CacheGetResponse { state: State::Found.into(), version: 7, value: evil.into(), expires_in: None }).unwrap();
        let ended = world.end_of(id).await;
        assert_eq!(ended.body(), "'default'");
        assert!(ended.messages()[0].starts_with("cache entry 'k' could not be restored: "), "{:?}", ended.messages());
    }

    async fn a_thread_between_two_calls_sends_its_changes_by_itself(python) {
        let mut world = World::start(python).await;
        world.prepare_cache(false, true);
        world.load_request("
import os, threading, time
def work(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    influxdb3_local.cache.put('late', 1)
threading.Thread(target=work, args=(query_parameters['go'],), daemon=True).start()
return ''").await;
        let go = world.file("sub/go", "").with_file_name("now");
        let ended = world.request_with(&[("go", go.to_str().unwrap())]).await;
        assert!(ended.threads > 0, "the runner is told of the threads");
        std::fs::write(&go, "").unwrap();
        let fact = world.fact().await;
        let Fact::Cached(cached) = fact else { panic!("unexpected {fact:?}") };
        assert_eq!((cached.invocation_id, cached.change.unwrap().key.as_str()), (1, "late"));
    }
}
