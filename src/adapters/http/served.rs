//! A server of the test's process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use url::Url;

/// A server, and what it was asked: method, path, and login where one was sent.
pub struct Served {
    pub url: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

/// Serves below a path. `answer` makes a status and a body of a path and the request's number, from 0.
pub fn serve(below: &str, answer: impl Fn(&str, usize) -> (u16, String) + Send + 'static) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut lines = reader.by_ref().lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let login = header("authorization: ");
            // What is not read would reset the connection.
            let _ = std::io::copy(
                &mut reader.take(header("content-length: ").parse().unwrap_or(0)),
                &mut std::io::sink(),
            );
            let (method, rest) = first.split_once(' ').unwrap_or_default();
            let path = rest.split(' ').next().unwrap_or_default();
            let mut noted = noted.lock().expect("nobody panics");
            let (status, body) = answer(path, noted.len());
            noted.push(format!("{method} {path} {login}").trim_end().to_owned());
            drop(noted);
            let length = body.len();
            let _ =
                write!(&stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    Served { url: Url::parse(&format!("http://127.0.0.1:{port}{below}")).expect("a URL"), asked }
}
