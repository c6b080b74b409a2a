//! The hello image: a web server that answers with its host name, and a few words a shell user expects.
//!
//! `hello [PORT]` serves (8080 unless told otherwise); `hello get URL` fetches; linked as `sh`, `echo`, `cat`, `ls`,
//! `env`, `hostname`, `sleep`, `true` or `false` it does what that name says, in the smallest sense. Standard library only, static, so that a
//! cluster without a registry has something to run and to look into.
use std::{
    env,
    ffi::c_int,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::exit,
    thread,
    time::Duration,
};

const MAX_HEADER_BYTES: u64 = 16 * 1024;
const IO_TIMEOUT: Duration = Duration::from_secs(10);

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;

unsafe extern "C" {
    fn signal(signum: c_int, handler: usize) -> usize;
    fn _exit(status: c_int) -> !;
}

extern "C" fn end(signum: c_int) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { _exit(128 + signum) }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(MAX_HEADER_BYTES));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
    println!("{method} {path} from {}", stream.peer_addr()?.ip());
    let (status, body) = match path {
        "/healthz" | "/readyz" => ("200 OK", "ok\n".to_owned()),
        _ => ("200 OK", format!("Hello from {}\n", hostname())),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn serve(port: &str) -> i32 {
    let listener = match TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("hello: port {port}: {error}");
            return 1;
        }
    };
    println!("{} listening on port {port}", hostname());
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = answer(stream) {
                eprintln!("hello: {error}");
            }
        });
    }
    0
}

fn get(url: &str) -> i32 {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let fetch = || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        print!("{}", reply.split_once("\r\n\r\n").map_or(reply.as_str(), |(_, body)| body));
        Ok(())
    };
    match fetch() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("hello: {url}: {error}");
            1
        }
    }
}

fn cat(paths: &[String]) -> i32 {
    let copy = |mut from: Box<dyn Read>| io::copy(&mut from, &mut io::stdout());
    if paths.is_empty() {
        return i32::from(copy(Box::new(io::stdin())).is_err());
    }
    let mut code = 0;
    for path in paths {
        if let Err(error) = std::fs::File::open(path).and_then(|file| copy(Box::new(file))) {
            eprintln!("cat: {path}: {error}");
            code = 1;
        }
    }
    code
}

fn ls(paths: &[String]) -> i32 {
    let here = [".".to_owned()];
    let mut code = 0;
    for path in if paths.is_empty() { &here[..] } else { paths } {
        match std::fs::read_dir(path) {
            Ok(entries) => {
                let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).filter(|name| !name.starts_with('.')).collect();
                names.sort();
                names.iter().for_each(|name| println!("{name}"));
            }
            Err(error) => {
                eprintln!("ls: {path}: {error}");
                code = 1;
            }
        }
    }
    code
}

fn sleep(words: &[String]) -> i32 {
    match words.first().map(|w| w.parse::<f64>()) {
        Some(Ok(seconds)) if seconds >= 0.0 && seconds < 1e9 => {
            thread::sleep(Duration::from_secs_f64(seconds));
            0
        }
        _ => {
            eprintln!("sleep: a number of seconds");
            1
        }
    }
}

/// One command line: words split at blanks, single and double quotes, `$NAME` outside single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut open, mut quote) = (Vec::new(), String::new(), false, None);
    let mut letters = line.chars().peekable();
    while let Some(c) = letters.next() {
        match (c, quote) {
            (q, Some(open_quote)) if q == open_quote => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                open = true;
            }
            ('$', None | Some('"')) => {
                let mut name = String::new();
                while let Some(n) = letters.next_if(|n| n.is_ascii_alphanumeric() || *n == '_') {
                    name.push(n);
                }
                word.push_str(&env::var(&name).unwrap_or_default());
                open = true;
            }
            (blank, None) if blank.is_whitespace() => {
                if open {
                    out.push(std::mem::take(&mut word));
                }
                open = false;
            }
            _ => {
                word.push(c);
                open = true;
            }
        }
    }
    if open {
        out.push(word);
    }
    out
}

/// `sh`, or `sh -c LINE`: commands one after another, split at `;` and line ends. No pipes, no redirection, no jobs.
fn shell(arguments: &[String]) -> i32 {
    let script = |text: &str| text.split([';', '\n']).fold(0, |last, line| line_of(line, last));
    if let [flag, text, ..] = arguments
        && flag == "-c"
    {
        return script(text);
    }
    let mut last = 0;
    let prompt = || {
        print!("/ # ");
        let _ = io::stdout().flush();
    };
    prompt();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        last = script(&line);
        prompt();
    }
    last
}

fn line_of(line: &str, last: i32) -> i32 {
    let words = words(line);
    match words.split_first() {
        None => last,
        Some((command, rest)) if command == "exit" => exit(rest.first().and_then(|c| c.parse().ok()).unwrap_or(last)),
        Some((command, rest)) if command == "exec" => rest.split_first().map_or(last, |(c, r)| exit(run(c, r))),
        Some((command, rest)) => run(command, rest),
    }
}

fn run(name: &str, rest: &[String]) -> i32 {
    match name {
        "sh" | "/bin/sh" => shell(rest),
        "echo" => {
            println!("{}", rest.join(" "));
            0
        }
        "cat" => cat(rest),
        "ls" => ls(rest),
        "env" => {
            env::vars().for_each(|(k, v)| println!("{k}={v}"));
            0
        }
        "hostname" => {
            println!("{}", hostname());
            0
        }
        "sleep" => sleep(rest),
        "true" => 0,
        "false" => 1,
        "hello" | "/hello" => match rest {
            [] => serve("8080"),
            [get_word, url] if get_word == "get" => get(url),
            [port] if port.parse::<u16>().is_ok() => serve(port),
            _ => {
                eprintln!("usage: hello [PORT] | hello get URL");
                2
            }
        },
        other => {
            eprintln!("sh: {other}: not found");
            127
        }
    }
}

fn main() {
    // The first process of a container gets no default actions: without these it could only be killed.
    // SAFETY: the handler calls only an async-signal-safe function.
    unsafe {
        signal(SIGINT, end as *const () as usize);
        signal(SIGTERM, end as *const () as usize);
    }
    let mut words = env::args();
    let name = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    exit(run(name.rsplit('/').next().unwrap_or("hello"), &rest));
}
