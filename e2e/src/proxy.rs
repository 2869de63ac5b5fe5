//! A TCP proxy on loopback that can cut, slow down or reset the connections through it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// Maximum bytes forwarded at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// The interval at which a held connection checks for the end of the cut.
const CHECK_EVERY: Duration = Duration::from_millis(20);
/// The delay of one chunk on a slow network.
const DELAY: Duration = Duration::from_millis(60);

/// The treatment of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Passage {
    /// Forwards without delay.
    Open,
    /// Forwards each chunk with a delay.
    Slow,
    /// Holds all bytes, like a network that drops packets. Connections stay open and hang.
    Cut,
    /// Refuses connections.
    Refused,
}

/// A listening proxy, until the program exits.
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
    /// Listens on a free port and forwards to `upstream`.
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

    /// Returns the address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the treatment of all traffic, including that of open connections.
    pub fn set(&self, passage: Passage) {
        self.state.passage.store(passage as u8, Ordering::SeqCst);
        if passage == Passage::Refused {
            self.sever();
        }
    }

    /// Closes every open connection. New ones are accepted.
    pub fn sever(&self) {
        for stream in self.state.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // the connection may have ended
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
            return; // dropping the stream resets the connection
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

    /// Starts a server that returns everything it receives.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind to loopback");
        let address = listener.local_addr().expect("read the address");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    std::io::copy(&mut stream.try_clone().expect("clone the stream"), &mut stream)
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
    fn bytes_held_by_a_cut_are_delivered_after_it() {
        let proxy = Proxy::to(echo()).expect("start a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("connect");
        round_trip(&mut stream, Duration::from_secs(5)).expect("the proxy forwards");
        proxy.set(Passage::Cut);
        round_trip(&mut stream, Duration::from_millis(200)).expect_err("no byte passes a cut");
        proxy.set(Passage::Open);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set the timeout");
        stream.read_exact(&mut [0]).expect("the held byte arrives");
    }

    #[test]
    fn a_refusal_closes_open_connections_and_refuses_new_ones() {
        let proxy = Proxy::to(echo()).expect("start a proxy");
        let mut stream = TcpStream::connect(proxy.address()).expect("connect");
        round_trip(&mut stream, Duration::from_secs(5)).expect("the proxy forwards");
        proxy.set(Passage::Refused);
        round_trip(&mut stream, Duration::from_secs(5)).expect_err("the connection is closed");
        let mut other = TcpStream::connect(proxy.address()).expect("the port listens");
        round_trip(&mut other, Duration::from_secs(5)).expect_err("the new connection is closed");
        proxy.set(Passage::Open);
        let mut again = TcpStream::connect(proxy.address()).expect("connect");
        round_trip(&mut again, Duration::from_secs(5)).expect("the proxy forwards again");
    }
}
