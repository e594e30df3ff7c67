//! A server on the loopback interface that speaks TLS with a certificate of its own.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const CERTIFICATE: &str = "localhost.pem";
const KEY: &str = "localhost.key.pem";

const SERVER: &str = "\
import http.server, ssl, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'hello by TLS'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hello)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// The server. Dropping it ends it.
pub(crate) struct TlsServer {
    child: Child,
    port: u16,
    files: TempDir,
}

impl TlsServer {
    pub(crate) fn start() -> Self {
        let files = tempfile::Builder::new().prefix("bulkhead-it-tls-").tempdir().unwrap();
        std::fs::set_permissions(files.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(files.path().join(CERTIFICATE), include_str!("localhost.pem")).unwrap();
        std::fs::write(files.path().join(KEY), include_str!("localhost.key.pem")).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, CERTIFICATE, KEY]).current_dir(&files).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), files }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Path of its certificate, which nobody has signed but itself.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.files.path().join(CERTIFICATE)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It can only have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
