//! HTTP for hosts that were granted by a pattern or an address: a proxy inside of the worker's empty network that asks the
//! runner. It understands `CONNECT`, which carries anything, and requests for an `http://` URL.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits::{FORWARD_CONNECT_TIMEOUT, PROXY_HEAD_BYTES_MAX};
use crate::logs::{Level, LogWriter};
use crate::trigger::HostPattern;

/// Serves one connection of a worker.
pub(super) async fn serve(mut inside: TcpStream, patterns: &[HostPattern], log: &LogWriter) {
    let asked = match timeout(FORWARD_CONNECT_TIMEOUT, read_head(&mut inside)).await {
        Ok(Ok(head)) => Asked::read(&head),
        // It broke off, or says nothing.
        Ok(Err(_)) | Err(_) => return,
    };
    let outcome = match asked {
        Ok(asked) => connect(&asked, patterns, log).await.map(|outside| (asked, outside)),
        Err(why) => Err(("400 Bad Request", why.to_owned())),
    };
    // Either end may break off at any time; the other then sees the end of the connection.
    match outcome {
        Ok((asked, mut outside)) => {
            let told = match asked.is_tunnel {
                true => inside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await,
                false => Ok(()),
            };
            if told.is_ok() && outside.write_all(&asked.first).await.is_ok() {
                let _ = copy_bidirectional(&mut inside, &mut outside).await;
            }
        }
        Err((status, why)) => {
            let length = why.len() + 1;
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{why}\n"
            );
            let _ = inside.write_all(answer.as_bytes()).await;
        }
    }
}

/// Everything up to the empty line, and what came along with it.
async fn read_head(inside: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        // The end may have begun in what was there before.
        let from = head.len().saturating_sub(3);
        let read = inside.read_buf(&mut head).await?;
        let is_whole = head.windows(4).skip(from).any(|four| four == b"\r\n\r\n");
        if is_whole || head.len() > PROXY_HEAD_BYTES_MAX {
            return Ok(head);
        }
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn connect(
    asked: &Asked,
    patterns: &[HostPattern],
    log: &LogWriter,
) -> Result<TcpStream, (&'static str, String)> {
    let Asked { host, port, .. } = asked;
    let covering = patterns.iter().filter(|pattern| pattern.covers(host, *port));
    let Some(pattern) = covering.max_by_key(|pattern| pattern.is_exact()) else {
        let why = format!("`{host}:{port}` was not granted to this trigger; grant it with --allow-net={host}:{port}");
        log.runner(Level::Warn, None, why.clone());
        return Err(("403 Forbidden", why));
    };
    let dial = async {
        let mut last = None;
        for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
            // Whoever answers for a granted domain must not lead into the runner's own network by it.
            if pattern.is_exact() || is_public(address) {
                match TcpStream::connect(address).await {
                    Ok(outside) => return Ok(outside),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| std::io::Error::other("its name leads to no public address")))
    };
    let failed = |why: String| {
        let why = format!("cannot connect to {host}:{port}: {why}");
        log.runner(Level::Warn, None, why.clone());
        ("502 Bad Gateway", why)
    };
    match timeout(FORWARD_CONNECT_TIMEOUT, dial).await {
        Ok(Ok(outside)) => Ok(outside),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {}", humantime::format_duration(FORWARD_CONNECT_TIMEOUT)))),
    }
}

/// Whether an address is on the internet, and not of a machine, a link or a private network.
fn is_public(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    !(ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || first == 0
        || is_shared)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local())
}

/// What a program asks the proxy for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    host: String,
    port: u16,
    /// What the host is sent first.
    first: Vec<u8>,
    /// Whether it is told before that the host was reached.
    is_tunnel: bool,
}

impl Asked {
    fn read(head: &[u8]) -> Result<Self, &'static str> {
        const NO_REQUEST: &str = "this is a proxy for HTTP: it takes CONNECT and requests for http:// URLs";
        let end = head.windows(4).position(|four| four == b"\r\n\r\n").ok_or("the head of the request is too long")?;
        let (fields, rest) = head.split_at(end);
        let body = rest.get(4..).unwrap_or_default();
        let text = std::str::from_utf8(fields).map_err(|_| NO_REQUEST)?;
        let (line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        let mut words = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NO_REQUEST);
        };
        if method == "CONNECT" {
            let (host, port) = authority(target, None).ok_or(NO_REQUEST)?;
            return Ok(Self { host, port, first: body.to_vec(), is_tunnel: true });
        }
        let target = target.strip_prefix("http://").ok_or(NO_REQUEST)?;
        let (named, path) = target.find('/').map_or((target, "/"), |at| target.split_at(at));
        let (host, port) = authority(named, Some(80)).ok_or(NO_REQUEST)?;
        // One request a connection: the next one may be for another host.
        let kept = fields.split("\r\n").filter(|field| {
            let name = field.split(':').next().unwrap_or_default();
            // The host is the one of the URL, which was looked at.
            let own = ["host", "connection", "proxy-connection", "proxy-authorization", "keep-alive"];
            !field.is_empty() && !own.iter().any(|own| name.eq_ignore_ascii_case(own))
        });
        let kept: String = kept.flat_map(|field| [field, "\r\n"]).collect();
        let head = format!("{method} {path} {version}\r\nHost: {named}\r\n{kept}Connection: close\r\n\r\n");
        Ok(Self { host, port, first: [head.as_bytes(), body].concat(), is_tunnel: false })
    }
}

/// Host and port. An address of version 6 stands in brackets.
fn authority(text: &str, port: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => (host, digits.parse().ok()?),
        _ => (text, port?),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    is_name.then(|| (host.trim_end_matches('.').to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_names_a_host_and_a_port() {
        let asked = Asked::read(b"CONNECT API.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\nearly").unwrap();
        let (host, first) = ("api.example.org".to_owned(), b"early".to_vec());
        assert_eq!(asked, Asked { host, port: 443, first, is_tunnel: true });
        let asked = Asked::read(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!((asked.host.as_str(), asked.port), ("2001:db8::1", 443));
    }

    #[test]
    fn a_request_for_a_url_is_passed_on_as_the_host_wants_it() {
        let head = b"POST http://a.example.org:8080/x?y=1 HTTP/1.1\r\nhost: b.example.net\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
        let asked = Asked::read(head).unwrap();
        assert_eq!((asked.host.as_str(), asked.port), ("a.example.org", 8080));
        assert_eq!(
            String::from_utf8(asked.first).unwrap(),
            "POST /x?y=1 HTTP/1.1\r\nHost: a.example.org:8080\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        );
    }

    #[test]
    fn what_is_no_request_for_a_proxy_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET https://a/ HTTP/1.1\r\n\r\n",
            "CONNECT a HTTP/1.1\r\n\r\n",
            "CONNECT a:99999 HTTP/1.1\r\n\r\n",
            "CONNECT a b:1 HTTP/1.1\r\n\r\n",
            "CONNECT a/b:1 HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(Asked::read(head.as_bytes()).is_err(), "{head:?}");
        }
        assert!(Asked::read(&[b'a'; 100]).is_err());
    }

    #[test]
    fn names_do_not_lead_into_private_networks() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(SocketAddr::new(private.parse().unwrap(), 80)), "{private}");
        }
        for public in ["192.0.2.1", "2001:db8::1", "100.128.0.1"] {
            assert!(is_public(SocketAddr::new(public.parse().unwrap(), 80)), "{public}");
        }
    }
}
