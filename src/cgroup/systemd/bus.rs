//! The little of D-Bus that it takes to talk to systemd: one connection, one call at a time, and the end of a job
//! (D-Bus specification, "Authentication Protocol" and "Message Protocol"). Values are encoded by zbus, whose own
//! connections are not used: they need an async runtime or threads, and a process that clones must have neither.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::wire::serialized::{Context as Encoding, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Type, Variant};

/// How long a call and the job that it begins may take together.
const PATIENCE: Duration = Duration::from_secs(30);

/// No answer of systemd's to what is asked here comes near this.
const LONGEST: usize = 1 << 20;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";

/// A connection to a message bus.
pub struct Bus {
    socket: UnixStream,
    serial: u32,
    deadline: Instant,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

/// The answer of a peer that did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `org.freedesktop.systemd1.UnitExists`
    pub name: String,
    pub message: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message.escape_debug(), self.name.escape_debug())
    }
}

/// A method and what it belongs to.
struct Method<'a> {
    destination: &'a str,
    path: &'a str,
    interface: &'a str,
    member: &'a str,
}

/// What a message says, as far as anything here asks.
#[derive(Debug, Default)]
struct Message {
    kind: u8,
    path: String,
    interface: String,
    member: String,
    error: String,
    reply_to: u32,
    sender: String,
    endian: Option<Endian>,
    body: Vec<u8>,
}

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

impl Bus {
    /// Connects to the bus behind a socket and says hello.
    pub fn connect(path: &Path) -> Result<Bus> {
        let socket = UnixStream::connect(path).context("connect")?;
        let mut bus = Bus { socket, serial: 0, deadline: Instant::now() + PATIENCE, signals: VecDeque::new() };
        bus.authenticate().context("authenticate")?;
        let hello = Method { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member: "Hello" };
        bus.call_method(&hello, &()).context("say hello")?;
        Ok(bus)
    }

    /// Lets the bus ask the kernel who we are. A name of our own would be wrong in a user namespace, where our uid is not
    /// the one that the bus sees.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
        loop {
            let line = self.line()?;
            match line.split(' ').next().unwrap_or_default() {
                "DATA" => {}
                "OK" => break,
                _ => bail!("the bus said {line:?}"),
            }
        }
        self.send(b"BEGIN\r\n")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            ensure!(line.len() < 4096, "a line of the bus has no end");
            let mut byte = [0];
            self.receive(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method of systemd's manager; a `Refusal` is what it says no with.
    pub fn call(&mut self, member: &str, body: &(impl Serialize + Type)) -> Result<()> {
        let method = Method { destination: SYSTEMD, path: SYSTEMD_PATH, interface: MANAGER, member };
        self.call_method(&method, body).map(drop)
    }

    /// Calls a method that begins a job, and waits for its end. Returns how it ended: `done`, `failed`, `timeout` ...
    pub fn run_job(&mut self, member: &str, body: &(impl Serialize + Type)) -> Result<String> {
        let rule =
            format!("type='signal',sender='{SYSTEMD}',path='{SYSTEMD_PATH}',interface='{MANAGER}',member='JobRemoved'");
        let watch = Method { destination: BUS, path: "/org/freedesktop/DBus", interface: BUS, member: "AddMatch" };
        self.call_method(&watch, &(rule,)).context("watch the jobs of systemd")?;
        let method = Method { destination: SYSTEMD, path: SYSTEMD_PATH, interface: MANAGER, member };
        let begun = self.call_method(&method, body)?;
        let job: OwnedObjectPath = begun.decode()?;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.read_message().context("wait for the job's end")?,
            };
            // Anybody on the bus may send us a signal: it counts if it is of whom the bus calls systemd.
            let ours = signal.kind == SIGNAL && signal.member == "JobRemoved" && signal.interface == MANAGER;
            if !ours || signal.sender != begun.sender || signal.path != SYSTEMD_PATH {
                continue;
            }
            let (_, ended, _, result): (u32, OwnedObjectPath, String, String) = signal.decode()?;
            if ended == job {
                return Ok(result);
            }
        }
    }

    /// A property of a unit.
    pub fn unit_property(&mut self, unit: &str, interface: &str, property: &str) -> Result<String> {
        let find = Method { destination: SYSTEMD, path: SYSTEMD_PATH, interface: MANAGER, member: "GetUnit" };
        let found = self.call_method(&find, &(unit,))?;
        let path: OwnedObjectPath = found.decode()?;
        let get = Method {
            destination: SYSTEMD,
            path: path.as_str(),
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
        };
        let answer = self.call_method(&get, &(interface, property))?;
        let value: OwnedVariant = answer.decode()?;
        String::try_from(value).with_context(|| format!("{property} of {unit} is no text"))
    }

    fn call_method(&mut self, method: &Method<'_>, body: &(impl Serialize + Type)) -> Result<Message> {
        self.serial += 1;
        let bytes = encode(self.serial, method, body)?;
        self.send(&bytes)?;
        loop {
            let message = self.read_message().with_context(|| format!("wait for the answer to {}", method.member))?;
            match message.kind {
                RETURN if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    let message = Refusal { message: message.decode().unwrap_or_default(), name: message.error };
                    return Err(message.into());
                }
                SIGNAL => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    fn read_message(&mut self) -> Result<Message> {
        let mut bytes = vec![0; FIXED];
        self.receive(&mut bytes)?;
        let (header, whole) = lengths(&bytes)?;
        bytes.resize(whole, 0);
        self.receive(&mut bytes[FIXED..])?;
        decode(&bytes, header)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write_all(bytes).map_err(said_late).context("write to the bus")
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(&mut bytes[filled..]) {
                Ok(0) => bail!("the bus has closed the connection"),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(said_late(error)).context("read from the bus"),
            }
        }
        Ok(())
    }

    fn left(&self) -> Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer within {} s", PATIENCE.as_secs());
        Ok(left)
    }
}

/// A timeout of a socket reads "Resource temporarily unavailable", which helps nobody.
fn said_late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::other(format!("no answer within {} s", PATIENCE.as_secs())),
        _ => error,
    }
}

/// Bytes of a header up to and with the length of its fields.
const FIXED: usize = 16;

/// The header as it is written: byte order, kind, flags, version, length of the body, serial and fields.
type Header<'a> = (u8, u8, u8, u8, u32, u32, Vec<(u8, Variant<'a>)>);

fn encode<B: Serialize + Type>(serial: u32, method: &Method<'_>, body: &B) -> Result<Vec<u8>> {
    let encoding = |at| Encoding::new(Endian::Little, at);
    let signature = B::SIGNATURE.to_string_no_parens();
    let body = match signature.is_empty() {
        true => Vec::new(),
        false => to_bytes(encoding(0), body).context("encode a message")?.bytes().to_vec(),
    };
    let path = ObjectPath::try_from(method.path).context("encode a message")?;
    let fields = vec![
        (1, Variant::ObjectPath(path)),
        (2, Variant::from(method.interface)),
        (3, Variant::from(method.member)),
        (6, Variant::from(method.destination)),
    ];
    let header: Header<'_> = (b'l', CALL, 0, 1, body.len() as u32, serial, fields);
    let mut bytes = to_bytes(encoding(0), &header).context("encode a message")?.bytes().to_vec();
    if !signature.is_empty() {
        // By hand: of a body with several values zbus would write the signature of one struct, in parentheses.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend([8, 1, b'g', 0, signature.len() as u8]);
        bytes.extend(signature.bytes().chain([0]));
        let fields = (bytes.len() - FIXED) as u32;
        bytes[FIXED - 4..FIXED].copy_from_slice(&fields.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    Ok(bytes)
}

/// From the fixed part of a header: its whole length without padding, and that of the message.
fn lengths(fixed: &[u8]) -> Result<(usize, usize)> {
    let number = |at: usize| -> Result<usize> {
        let bytes: [u8; 4] = fixed[at..at + 4].try_into().context("a header is cut off")?;
        Ok(match fixed[0] {
            b'l' => u32::from_le_bytes(bytes),
            b'B' => u32::from_be_bytes(bytes),
            other => bail!("a message of the bus has the byte order {other}"),
        } as usize)
    };
    let (fields, body) = (number(12)?, number(4)?);
    ensure!(fields <= LONGEST && body <= LONGEST, "a message of the bus has {} bytes", fields + body);
    Ok((FIXED + fields, (FIXED + fields).next_multiple_of(8) + body))
}

fn decode(bytes: &[u8], header: usize) -> Result<Message> {
    let endian = if bytes[0] == b'l' { Endian::Little } else { Endian::Big };
    let data = Data::new(&bytes[..header], Encoding::new(endian, 0));
    let ((_, kind, _, _, _, _, fields), _) = data.deserialize::<Header<'_>>().context("read a message of the bus")?;
    let body = bytes[header.next_multiple_of(8)..].to_vec();
    let mut message = Message { kind, endian: Some(endian), body, ..Message::default() };
    for (code, value) in fields {
        let text = match value {
            Variant::Str(text) => text.to_string(),
            Variant::ObjectPath(path) => path.to_string(),
            Variant::U32(number) if code == 5 => {
                message.reply_to = number;
                continue;
            }
            _ => continue,
        };
        match code {
            1 => message.path = text,
            2 => message.interface = text,
            3 => message.member = text,
            4 => message.error = text,
            7 => message.sender = text,
            _ => {}
        }
    }
    Ok(message)
}

impl Message {
    fn decode<T: DeserializeOwned + Type>(&self) -> Result<T> {
        let encoding = Encoding::new(self.endian.context("a message without a byte order")?, 0);
        let data = Data::new(self.body.as_slice(), encoding);
        Ok(data.deserialize::<T>().context("read an answer of the bus")?.0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const METHOD: Method<'static> =
        Method { destination: SYSTEMD, path: SYSTEMD_PATH, interface: MANAGER, member: "StopUnit" };

    /// A message as a peer would write it: a call of ours with another kind and a few fields more.
    fn from_peer(kind: u8, member: &str, extra: (u8, Variant<'_>), body: &(impl Serialize + Type)) -> Vec<u8> {
        let method = Method { destination: ":1.1", path: SYSTEMD_PATH, interface: MANAGER, member };
        let call = encode(1, &method, body).unwrap();
        let (header, _) = lengths(&call).unwrap();
        let data = Data::new(&call[..header], Encoding::new(Endian::Little, 0));
        let (mut given, _) = data.deserialize::<Header<'_>>().unwrap();
        given.1 = kind;
        given.6.push((7, Variant::from(":1.7")));
        given.6.push(extra);
        let mut bytes = to_bytes(Encoding::new(Endian::Little, 0), &given).unwrap().bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(&call[header.next_multiple_of(8)..]);
        bytes
    }

    fn reply(to: u32, body: &(impl Serialize + Type)) -> Vec<u8> {
        from_peer(RETURN, "Reply", (5, Variant::U32(to)), body)
    }

    fn path(text: &str) -> ObjectPath<'_> {
        ObjectPath::try_from(text).unwrap()
    }

    #[test]
    fn a_call_names_its_method_and_the_types_of_its_body() {
        let bytes = encode(7, &METHOD, &("a.scope", "replace")).unwrap();
        let (header, whole) = lengths(&bytes).unwrap();
        assert_eq!(whole, bytes.len());
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("\u{1}g\0\u{2}ss\0") && text.contains("StopUnit"), "{text:?}");
        let message = decode(&bytes, header).unwrap();
        assert_eq!((message.member.as_str(), message.path.as_str()), ("StopUnit", SYSTEMD_PATH));
        assert_eq!(message.decode::<(String, String)>().unwrap(), ("a.scope".to_owned(), "replace".to_owned()));
        let hello = encode(1, &METHOD, &()).unwrap();
        assert_eq!(lengths(&hello).unwrap().1, hello.len());
    }

    /// A bus that says what it is told to, whatever it is asked.
    fn bus_that_says(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, thread::JoinHandle<()>) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("bus")).unwrap();
        let said = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut byte = [0];
            while !heard.ends_with(b"BEGIN\r\n") {
                if heard.ends_with(b"AUTH EXTERNAL\r\nDATA\r\n") {
                    peer.write_all(b"DATA\r\nOK 1234\r\n").unwrap();
                }
                peer.read_exact(&mut byte).unwrap();
                heard.push(byte[0]);
            }
            answers.iter().for_each(|answer| peer.write_all(answer).unwrap());
            // Until we hang up.
            let _ = io::copy(&mut peer, &mut io::sink());
        });
        (dir, said)
    }

    fn ask(answers: Vec<Vec<u8>>) -> Result<String> {
        let (dir, said) = bus_that_says(answers);
        let result =
            Bus::connect(&dir.path().join("bus")).and_then(|mut bus| bus.run_job("StopUnit", &("a.scope", "replace")));
        said.join().unwrap();
        result
    }

    fn removed(sender_is_systemd: bool, job: &str, result: &str) -> Vec<u8> {
        let body = (1u32, path(job), "a.scope", result);
        let mut signal = from_peer(SIGNAL, "JobRemoved", (5, Variant::U32(0)), &body);
        if !sender_is_systemd {
            let at = signal.windows(4).position(|found| found == b":1.7").unwrap();
            signal[at + 3] = b'9';
        }
        signal
    }

    #[test]
    fn a_jobs_end_is_waited_for_and_only_systemd_can_tell_it() {
        let answers = vec![
            reply(1, &":1.1"),
            reply(2, &()),
            removed(false, "/job/5", "forged"),
            reply(3, &path("/job/5")),
            removed(true, "/job/4", "another"),
            removed(true, "/job/5", "done"),
        ];
        assert_eq!(ask(answers).unwrap(), "done");
    }

    #[test]
    fn a_refusal_has_its_name_and_what_was_said() {
        let name = Variant::from("org.freedesktop.systemd1.NoSuchUnit");
        let mut refused = from_peer(ERROR, "Error", (4, name), &"Unit a.scope not loaded.\n");
        let (header, _) = lengths(&refused).unwrap();
        // The answer to the third call.
        let data = Data::new(&refused[..header], Encoding::new(Endian::Little, 0));
        let (mut given, _) = data.deserialize::<Header<'_>>().unwrap();
        given.6.push((5, Variant::U32(3)));
        let mut bytes = to_bytes(Encoding::new(Endian::Little, 0), &given).unwrap().bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(refused.split_off(header.next_multiple_of(8)));
        let error = ask(vec![reply(1, &":1.1"), reply(2, &()), bytes]).unwrap_err();
        let refusal = error.downcast_ref::<Refusal>().unwrap();
        assert_eq!(refusal.name, "org.freedesktop.systemd1.NoSuchUnit");
        assert_eq!(refusal.to_string(), "Unit a.scope not loaded.\\n (org.freedesktop.systemd1.NoSuchUnit)");
    }

    #[test]
    fn a_message_without_an_end_is_not_waited_for() {
        let mut huge = reply(1, &":1.1");
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(format!("{:#}", ask(vec![huge]).unwrap_err()).contains("bytes"));
        assert!(format!("{:#}", ask(vec![vec![b'?'; 16]]).unwrap_err()).contains("byte order"));
    }
}
