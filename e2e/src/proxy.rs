//! A TCP proxy on loopback that can cut, slow down or sever the connections through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// Bytes forwarded at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// How often a held connection checks whether it may go on.
const CHECK_EVERY: Duration = Duration::from_millis(20);
/// Delay of one chunk on a slow network.
const DELAY: Duration = Duration::from_millis(60);

/// What a proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Passage {
    /// Forwards at once.
    Open,
    /// Forwards each chunk late.
    Slow,
    /// Holds every byte, as a network that drops packets: connections stay up, and hang.
    Cut,
    /// Refuses connections.
    Refused,
}

/// A listening proxy. It lives as long as the program.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: SocketAddr,
    passage: AtomicU8,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens on a free port, and forwards to `upstream`.
    pub fn to(upstream: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind a proxy")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            passage: AtomicU8::new(Passage::Open as u8),
            streams: Mutex::default(),
        });
        let accepting = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.accept(stream);
            }
        });
        Ok(Proxy { address, state })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Treats all bytes like this from now on, those of open connections included.
    pub fn set(&self, passage: Passage) {
        self.state.passage.store(passage as u8, Ordering::SeqCst);
        if passage == Passage::Refused {
            self.sever();
        }
    }

    /// Closes every open connection. New ones are accepted.
    pub fn sever(&self) {
        for stream in self.state.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may have ended by itself
        }
    }
}

impl State {
    fn passage(&self) -> Passage {
        let now = self.passage.load(Ordering::SeqCst);
        [Passage::Slow, Passage::Cut, Passage::Refused]
            .into_iter()
            .find(|passage| *passage as u8 == now)
            .unwrap_or(Passage::Open)
    }

    fn accept(self: &Arc<State>, client: TcpStream) {
        if self.passage() == Passage::Refused {
            return; // dropped: the client sees a reset
        }
        let Ok(server) = TcpStream::connect(self.upstream) else { return };
        let pairs =
            [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())];
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.peer_addr().is_ok());
        streams.extend([client, server]);
        drop(streams);
        for (from, to) in pairs.into_iter().filter_map(|(from, to)| Some((from.ok()?, to.ok()?))) {
            let state = self.clone();
            std::thread::spawn(move || state.forward(from, to));
        }
    }

    /// Forwards one direction until either end closes.
    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; CHUNK_BYTES];
        let _ = to.set_nodelay(true);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            while self.passage() == Passage::Cut {
                std::thread::sleep(CHECK_EVERY);
            }
            if self.passage() == Passage::Slow {
                std::thread::sleep(DELAY);
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that returns what it receives.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    std::io::copy(&mut stream.try_clone().expect("a handle"), &mut stream)
                });
            }
        });
        address
    }

    fn round_trip(stream: &mut TcpStream, limit: Duration) -> std::io::Result<()> {
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])
    }

    #[test]
    fn a_cut_holds_bytes_and_delivers_them_when_it_opens() {
        let proxy = Proxy::to(echo()).expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("it accepts");
        round_trip(&mut stream, Duration::from_secs(5)).expect("open");
        proxy.set(Passage::Cut);
        round_trip(&mut stream, Duration::from_millis(200)).expect_err("nothing passes a cut");
        proxy.set(Passage::Open);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        stream.read_exact(&mut [0]).expect("the byte that was held arrives");
    }

    #[test]
    fn a_refusal_closes_what_is_open_and_admits_nothing() {
        let proxy = Proxy::to(echo()).expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("it accepts");
        round_trip(&mut stream, Duration::from_secs(5)).expect("open");
        proxy.set(Passage::Refused);
        round_trip(&mut stream, Duration::from_secs(5)).expect_err("the connection is closed");
        let mut other = TcpStream::connect(proxy.address()).expect("the port listens");
        round_trip(&mut other, Duration::from_secs(5)).expect_err("and closes at once");
        proxy.set(Passage::Open);
        let mut again = TcpStream::connect(proxy.address()).expect("it accepts");
        round_trip(&mut again, Duration::from_secs(5)).expect("open again");
    }
}
