//! Named endpoints in an empty network namespace: each name gets a loopback address of its own, and a listener on it
//! that the runner accepts from outside. A program inside connects by name, as it would anywhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use super::policy::Endpoint;
use crate::raw;

/// Endpoints that one worker may be granted; as many descriptors go over a socket in one message.
pub(crate) const ENDPOINTS_MAX: usize = 64;

/// The listeners, in the order of the endpoints, and the lines of `/etc/hosts` that lead to them.
pub(crate) fn listen(endpoints: &[Endpoint]) -> Result<(Vec<TcpListener>, String), String> {
    if endpoints.len() > ENDPOINTS_MAX {
        return Err(format!("{} network endpoints were granted and {ENDPOINTS_MAX} are possible", endpoints.len()));
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| format!("a socket: {error}"))?;
    raw::raise_loopback(socket.as_fd()).map_err(|error| format!("the loopback interface: {error}"))?;
    let mut names: Vec<&str> = Vec::new();
    let mut listeners = Vec::new();
    let mut hosts = String::new();
    for Endpoint { host, port } in endpoints {
        let address = match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => address,
            Ok(_) => {
                return Err(format!("`{host}:{port}`: only names and loopback addresses can be granted one by one"));
            }
            Err(_) => {
                let is_new = !names.contains(&host.as_str());
                if is_new {
                    names.push(host);
                }
                let index = names.iter().position(|name| name == host).unwrap_or_default();
                let address = address(index);
                if is_new && host != "localhost" {
                    hosts.push_str(&format!("{address} {host}\n"));
                }
                if host == "localhost" { Ipv4Addr::LOCALHOST.into() } else { address }
            }
        };
        let listener = TcpListener::bind(SocketAddr::new(address, *port))
            .map_err(|error| format!("a listener for `{host}:{port}`: {error}"))?;
        listeners.push(listener);
    }
    Ok((listeners, hosts))
}

/// The loopback address of the name number `index`.
fn address(index: usize) -> IpAddr {
    let [.., high, low] = u32::try_from(index + 1).unwrap_or(u32::MAX).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low).into()
}
