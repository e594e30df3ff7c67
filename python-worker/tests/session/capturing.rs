//! What is printed and logged past the API.

use bulkhead_proto::types::v1::{LogLevel, LogSource};

use crate::world::{Ended, World};

fn lines(ended: &Ended) -> Vec<(LogLevel, LogSource, &str)> {
    ended.entries().map(|entry| (entry.level(), entry.source(), entry.message.as_str())).collect()
}

on_every_python! {
    async fn sources_keep_their_order(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import sys, logging
print('one', end=' ')
print('line')
influxdb3_local.info('two')
print('three', file=sys.stderr)
logging.getLogger('x').warning('four %s', 4)
logging.info('not logged')
logging.getLogger().setLevel(logging.DEBUG)
logging.debug('five')
logging.error('six')
try:
    1/0
except ZeroDivisionError:
    logging.exception('seven')
print('eight\\n\\nnine', end='')
return ''").await;
        let seen = lines(&ended);
        assert_eq!(seen[..6], [
            (LogLevel::Info, LogSource::Stdout, "one line"),
            (LogLevel::Info, LogSource::Api, "two"),
            (LogLevel::Warn, LogSource::Stderr, "three"),
            (LogLevel::Warn, LogSource::Logging, "four 4"),
            (LogLevel::Debug, LogSource::Logging, "five"),
            (LogLevel::Error, LogSource::Logging, "six"),
        ]);
        assert!(seen[6].2.starts_with("seven\nTraceback") && seen[6].2.ends_with("ZeroDivisionError: division by zero"), "{}", seen[6].2);
        assert_eq!(seen[7..], [
            (LogLevel::Info, LogSource::Stdout, "eight"),
            (LogLevel::Info, LogSource::Stdout, ""),
            (LogLevel::Info, LogSource::Stdout, "nine"),
        ]);
        assert!(ended.logs.iter().all(|log| log.invocation_id.is_some()));
    }

    async fn basic_config_sets_level_and_format(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import logging
logging.basicConfig(level=logging.INFO, format='%(name)s: %(message)s')
logging.getLogger('a.b').info('hello')
return ''").await;
        assert_eq!(lines(&ended), [(LogLevel::Info, LogSource::Logging, "a.b: hello")]);
    }

    async fn megabytes_without_a_line_end_stay_small(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(300):
    print('x' * 100_000, end='')
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
return str(grown < 8_000)").await;
        assert_eq!(ended.body(), "True");
        let seen = lines(&ended);
        assert_eq!(seen.len(), 1);
        assert!(seen[0].2.len() <= 1000 && seen[0].2.ends_with("xx ... (29999040 bytes cut)"), "{}", seen[0].2);
    }

    async fn megabytes_of_lines_arrive(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
print('\\n'.join('y' * 99 for _ in range(300_000)))
return ''").await;
        assert_eq!(ended.logs.len(), 300_000);
        assert!(ended.messages().iter().all(|message| message.len() == 99));
    }

    async fn the_streams_look_like_files(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import sys, os
sys.stdout.buffer.write(b'raw bytes\\n')
sys.stdout.flush()
os.write(2, b'raw error\\n')
sys.stdout.reconfigure(line_buffering=True)
try:
    sys.stdout.write(b'bytes')
except TypeError as e:
    kind = str(e)
return [sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable(), sys.stdout.write('héllo'), kind]").await;
        assert_eq!(ended.body(), r#"[1, 2, false, "utf-8", true, 5, "write() argument must be str, not bytes"]"#);
        assert_eq!(ended.messages(), ["héllo"]);
        let World { worker, peer, .. } = world;
        drop(peer.orders);
        let (_, stderr, stdout) = worker.end().await;
        assert_eq!(stdout, "raw bytes\n");
        assert!(stderr.starts_with("raw error\n"), "{stderr}");
    }

    async fn what_threads_print_between_calls_is_logged(python) {
        let mut world = World::start(python).await;
        world.respond("
import threading, time
def late():
    time.sleep(0.05)
    print('late')
    raise ValueError('in a thread')
threading.Thread(target=late).start()
return ''").await.succeeded();
        let mut text = String::new();
        while !text.contains("ValueError: in a thread") {
            let bulkhead_proto::worker::v1::session_request::Fact::Logs(logs) = world.fact().await else { panic!("not logs") };
            assert!(logs.lines.iter().all(|log| log.invocation_id.is_none()));
            text.extend(logs.lines.into_iter().map(|log| log.entry.unwrap().message + "\n"));
        }
        assert!(text.starts_with("late\nException in thread"), "{text}");
    }
}
