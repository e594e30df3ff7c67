//! An index on the loopback interface, in the format of PEP 503, that demands a password and answers when it is let.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

const USER: &str = "reader";
pub(super) const PASSWORD: &str = "s3cr3t-of-the-index";
/// `reader:s3cr3t-of-the-index`.
pub(super) const BASIC: &str = "Basic cmVhZGVyOnMzY3IzdC1vZi10aGUtaW5kZXg=";

pub(super) struct Index {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Paths that were asked for, with the header `Authorization`.
    asked: Mutex<Vec<(String, String)>>,
    /// Whether it keeps everybody waiting.
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Index {
    /// Serves the wheels of a directory until the test process ends.
    pub(super) fn serve(wheels: PathBuf) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // A tool that goes away in between is none of this server's business.
                let _ = answer(stream, &wheels, &shared);
            }
        });
        Self { address, state }
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its address, with the credentials.
    pub(super) fn url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@{}/simple", self.address)
    }

    /// What it was asked, and with which header `Authorization`.
    pub(super) fn asked(&self) -> Vec<(String, String)> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Keeps everybody waiting from now on, or no longer.
    pub(super) fn close(&self, closed: bool) {
        *self.state.is_closed.lock().unwrap() = closed;
        self.state.opened.notify_all();
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.close(false);
    }
}

fn answer(mut stream: TcpStream, wheels: &Path, state: &State) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut authorization = String::new();
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => authorization = value.to_owned(),
            Some(_) => {}
            None => break,
        }
    }
    state.asked.lock().unwrap().push((path.clone(), authorization.clone()));
    drop(state.opened.wait_while(state.is_closed.lock().unwrap(), |closed| *closed).unwrap());
    let mut reply = |status: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nwww-authenticate: Basic realm=\"index\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body))
    };
    if authorization != BASIC {
        return reply("401 Unauthorized", "text/plain", b"");
    }
    if let Some(project) = path.trim_end_matches('/').strip_prefix("/simple/") {
        // File names may have underscores where an index has hyphens.
        let beginning = format!("{}-", project.replace('-', "_"));
        let names = std::fs::read_dir(wheels)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names = names.filter(|name| name.starts_with(&beginning));
        let links: String = names.map(|name| format!("<a href=\"/files/{name}\">{name}</a>\n")).collect();
        return reply("200 OK", "text/html", format!("<!DOCTYPE html><html><body>{links}</body></html>").as_bytes());
    }
    match path.strip_prefix("/files/").map(|name| std::fs::read(wheels.join(name))) {
        Some(Ok(bytes)) => reply("200 OK", "application/octet-stream", &bytes),
        _ => reply("404 Not Found", "text/plain", b""),
    }
}
