//! Child processes that never outlive the test process: each is told its parent's death by the kernel, and a
//! watchdog removes the folder. Knows nothing of what runs in them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::error::{Error, Result, wait_until};

/// How many lines of a log a failure shows.
const TAIL_LINES: usize = 40;

/// A free loopback port each, all different. They are free until somebody else takes them: good enough for tests.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// The Unix user that a server runs as. Database servers refuse root, so as root they get their package's user.
#[derive(Clone, Copy)]
pub struct User(Option<(u32, u32)>);

impl User {
    pub const OURS: User = User(None);

    pub fn unless_root(name: &str) -> Result<User> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(User::OURS);
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        let ids = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next()? == name;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            found.then_some((uid, gid))
        });
        match ids {
            Some(ids) => Ok(User(Some(ids))),
            None => Err(Error::new(format!("there is no user {name:?}: run tests/real/install.sh"))),
        }
    }

    /// A new folder that this user may write.
    pub fn create_dir(self, path: &Path) -> Result {
        fs::create_dir(path)?;
        if let User(Some((uid, gid))) = self {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o700))?)
    }

    /// `program`, run as this user and sent `death_signal` when the thread that spawns it ends.
    /// setpriv sets the signal after the user: the kernel clears it when a process changes users.
    pub fn command(self, program: &Path, death_signal: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.arg(format!("--pdeathsig={death_signal}"));
        if let User(Some((uid, gid))) = self {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()]);
        }
        command.arg("--").arg(program).stdin(Stdio::null());
        command
    }
}

/// Spawns from one thread that lives as long as the process. The kernel's "parent" of the death signal is the
/// *thread* that spawned, and a test's thread ends with the test.
fn spawn(command: Command) -> Result<Child> {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = channel();
    spawner.send((command, answer))?;
    Ok(child.recv()??)
}

/// Runs a command to its end, its output in `log`.
pub fn run(name: &str, mut command: Command, log: &Path) -> Result {
    let file = File::create(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    let status = spawn(command)?.wait()?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("{name}: {status}\n{}", tail(log)))) }
}

/// A server: started, killed, started again, always with the same log file. Dropping it kills it.
pub struct Service {
    name: &'static str,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Service {
    pub fn new(name: &'static str, log: PathBuf) -> Self {
        Service { name, log, child: Mutex::new(None) }
    }

    pub fn start(&self, mut command: Command) -> Result {
        let mut child = self.lock();
        assert!(child.is_none(), "{} is already running", self.name);
        let log = File::options().create(true).append(true).open(&self.log)?;
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        *child = Some(spawn(command).map_err(|error| error.during(self.name))?);
        Ok(())
    }

    /// Polls until the server answers. Says so at once when the process ends instead.
    pub fn wait_ready(&self, limit: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result {
        let mut exit: Option<ExitStatus> = None;
        let waited = wait_until(&format!("{} to be ready", self.name), limit, || {
            exit = self.lock().as_mut().map_or(Ok(None), Child::try_wait)?;
            if exit.is_some() { Ok(Some(())) } else { Ok(ready()?.then_some(())) }
        });
        match (waited, exit) {
            (Ok(()), None) => Ok(()),
            (_, Some(status)) => Err(self.failure(&format!("ended while starting ({status})"))),
            (Err(error), None) => Err(self.failure(&error.to_string())),
        }
    }

    /// An error with the end of this server's log.
    pub fn failure(&self, message: &str) -> Error {
        Error::new(format!("{}: {message}\n{}", self.name, tail(&self.log)))
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&self) -> Result {
        if let Some(mut child) = self.lock().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal, if the process runs.
    pub fn signal(&self, signal: &str) -> Result {
        self.lock().as_ref().map_or(Ok(()), |child| send_signal(child, signal))
    }

    /// True where nothing runs: it was never started, was killed or stopped.
    pub fn is_idle(&self) -> bool {
        self.lock().is_none()
    }

    /// How the process ended, where it has by itself; told once, and then it can be started again.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.lock();
        let status = child.as_mut().map_or(Ok(None), Child::try_wait)?;
        if status.is_some() {
            *child = None;
        }
        Ok(status)
    }

    /// Waits until the process has ended; it can be started again then.
    pub fn wait_end(&self, limit: Duration) -> Result<ExitStatus> {
        let ended = wait_until(&format!("the end of {}", self.name), limit, || self.ended());
        ended.map_err(|error| self.failure(&error.to_string()))
    }

    /// An orderly end by `signal` ("TERM", "INT"), or kill -9 when it takes longer than `limit`. An end is orderly
    /// when the process chose it: by exiting with 0, or, as a JVM always does, with 128 + the signal.
    pub fn stop(&self, signal: &str, limit: Duration) -> Result {
        let Some(mut child) = self.lock().take() else { return Ok(()) };
        if let Some(status) = child.try_wait()? {
            return Err(self.failure(&format!("had ended before it was stopped ({status})")));
        }
        send_signal(&child, signal)?;
        match wait_until("its end", limit, || Ok(child.try_wait()?)) {
            Ok(status) if status.success() || status.code() == java_exit_code(signal) => Ok(()),
            Ok(status) => Err(self.failure(&format!("SIG{signal} did not end it in order ({status})"))),
            Err(error) => {
                self.write_stacks(&child);
                child.kill()?;
                child.wait()?;
                Err(self.failure(&format!("SIG{signal} did not end it, killed: {error}")))
            }
        }
    }

    /// Where each thread of a process stands that does not end, beside its log, on machines that have gdb.
    fn write_stacks(&self, child: &Child) {
        let Ok(file) = File::create(self.log.with_extension("stacks")) else { return };
        let mut gdb = Command::new("gdb");
        gdb.args(["-batch", "-ex", "set pagination off", "-ex", "thread apply all bt 30", "-p"]);
        let _ = gdb.arg(child.id().to_string()).stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).status();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What a JVM exits with when a signal has ended it in order.
fn java_exit_code(signal: &str) -> Option<i32> {
    match signal {
        "INT" => Some(128 + 2),
        "TERM" => Some(128 + 15),
        _ => None,
    }
}

fn send_signal(child: &Child, signal: &str) -> Result {
    let script = "kill -s \"$0\" \"$1\"";
    let status = Command::new("sh").args(["-c", script, signal, &child.id().to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("kill -s {signal} {}: {status}", child.id()))) }
}

fn tail(log: &Path) -> String {
    let Ok(file) = File::open(log) else { return format!("({} is missing)", log.display()) };
    let lines: Vec<String> = BufReader::new(file)
        .split(b'\n')
        .map_while(|line| line.ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    format!("--- the last lines of {}\n{}\n---", log.display(), lines[first..].join("\n"))
}

/// The stack's folder. A watchdog holds the other end of a pipe and removes the folder when this process is
/// gone, however it went; dropping it does the same at once.
pub struct Folder {
    path: PathBuf,
    watchdog: Option<Child>,
}

impl Folder {
    pub fn create() -> Result<Folder> {
        let path = tempfile::Builder::new().prefix("evenkeel-real-").tempdir()?.keep();
        // The database servers run as other users and must be able to pass through.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let watchdog = if std::env::var_os("EVENKEEL_KEEP_STACK").is_some() { None } else { Some(watch(&path)?) };
        Ok(Folder { path, watchdog })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn watch(path: &Path) -> Result<Child> {
    // Servers that are being killed may still write, so the folder is removed until it stays away.
    let script = "cat; for i in $(seq 50); do rm -rf \"$0\"; sleep 0.2; [ -e \"$0\" ] || exit; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(path).process_group(0);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            // `wait` closes the pipe first.
            let _ = watchdog.wait();
        }
    }
}

/// A suite that does not notice a bad end would not notice that the product stops badly.
#[test]
fn process_that_ends_badly_when_stopped_is_noticed() -> Result {
    let folder = tempfile::tempdir()?;
    for (end, in_order) in [("exit 0", true), ("exit 143", true), ("exit 1", false), ("kill -KILL $$", false)] {
        let log = folder.path().join(end);
        let service = Service::new("shell", log.clone());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("trap '{end}' TERM; echo ready; while :; do sleep 0.01; done")]);
        service.start(command)?;
        service.wait_ready(Duration::from_secs(10), || Ok(fs::read_to_string(&log)?.contains("ready")))?;
        let stopped = service.stop("TERM", Duration::from_secs(10));
        assert_eq!(stopped.is_ok(), in_order, "{end}: {stopped:?}");
    }
    Ok(())
}
