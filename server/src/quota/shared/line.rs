//! The line to Redis: a connection on which the function can be called, as a function of a library where Redis has them
//! (7.0 and later), else as a script. Whichever is missing there is brought along.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value, aio::ConnectionLike};

use super::wire::{Exchange, Owner, Reply};

/// Goes up with every change of the function: replicas of two versions may run side by side.
const NAME: &str = "tollgate_quota_v2";
const BODY: &str = include_str!("exchange.lua");

/// A connection on which the function can be called.
pub(super) struct Line {
    connection: Box<dyn ConnectionLike + Send>,
    way: Way,
    /// The script's hash, which is its name there.
    script: redis::Script,
}

/// How the function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Function,
    Script,
}

impl Line {
    /// Takes a connection.
    pub(super) fn new(connection: Box<dyn ConnectionLike + Send>) -> Self {
        let script = redis::Script::new(&format!("{BODY}\nreturn exchange(KEYS, ARGV)\n"));
        Self { connection, way: Way::Function, script }
    }

    /// Calls the function and waits for its answer, however long that takes.
    pub(super) async fn exchange(&mut self, exchange: &Exchange, owner: &Owner) -> Result<Reply, RedisError> {
        let (keys, arguments) = (exchange.keys(owner), exchange.arguments(owner));
        // Once for each thing that may be missing: the command, the function or the script.
        for _ in 0..2 {
            match self.call(&keys, &arguments).await {
                Err(error) if self.bring(&error).await? => {}
                answer => return read(answer?, exchange),
            }
        }
        read(self.call(&keys, &arguments).await?, exchange)
    }

    async fn call(&mut self, keys: &[String], arguments: &[String]) -> Result<Value, RedisError> {
        let (command, name) = match self.way {
            Way::Function => ("FCALL", NAME),
            Way::Script => ("EVALSHA", self.script.get_hash()),
        };
        let mut call = redis::cmd(command);
        call.arg(name).arg(keys.len()).arg(keys).arg(arguments);
        self.send(&call).await
    }

    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        self.connection.req_packed_command(command).await?.extract_error()
    }

    /// Brings along what was missing. Tells whether something was.
    async fn bring(&mut self, error: &RedisError) -> Result<bool, RedisError> {
        let detail = error.detail().unwrap_or_default();
        match self.way {
            Way::Function if detail.contains("Function not found") => {
                let library =
                    format!("#!lua name={NAME}\n{BODY}\nredis.register_function('{NAME}', exchange)\n");
                let mut load = redis::cmd("FUNCTION");
                load.arg("LOAD").arg("REPLACE").arg(library);
                match self.send(&load).await {
                    // Who may not load libraries may still be allowed scripts.
                    Err(error) if is_unknown(&error) => self.way = Way::Script,
                    answer => drop(answer?),
                }
                Ok(true)
            }
            Way::Function if is_unknown(error) => {
                self.way = Way::Script;
                Ok(true)
            }
            Way::Script if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut load = redis::cmd("SCRIPT");
                load.arg("LOAD").arg(format!("{BODY}\nreturn exchange(KEYS, ARGV)\n"));
                self.send(&load).await?;
                Ok(true)
            }
            Way::Function | Way::Script => Ok(false),
        }
    }
}

/// Tells whether the command is not there, or not for us.
fn is_unknown(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| detail.to_lowercase().contains("unknown command"))
}

fn read(value: Value, exchange: &Exchange) -> Result<Reply, RedisError> {
    let unexpected = || (ErrorKind::UnexpectedReturnType, "the shared counters answer something else").into();
    Reply::read(value, exchange).ok_or_else(unexpected)
}
