//! What the process prints when it is ready: where it listens, what it serves, and how to try it.

use std::{fmt::Write as _, net::SocketAddr, path::Path, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

/// The facts of a start.
pub struct Greeting<'g> {
    /// Address for callers.
    pub callers: SocketAddr,
    /// Address for operators.
    pub operators: SocketAddr,
    /// Whether callers must use TLS.
    pub tls: bool,
    /// Where data lies.
    pub data_dir: &'g Path,
    /// Providers that came from the environment, by name.
    pub found: &'g [String],
    /// Every alias.
    pub aliases: &'g [String],
    /// The key that was just made, if one was.
    pub minted: Option<&'g SecretString>,
    /// Time since the process started.
    pub took: Duration,
}

impl Greeting<'_> {
    /// Writes it all, with the minted key: for standard output only, this one time.
    pub fn text(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let callers = reachable(self.callers);
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{line}"); // writing to a String cannot fail
        };
        line(format_args!("tollgate {}", env!("CARGO_PKG_VERSION")));
        line(format_args!("  callers    {scheme}://{}   REST, SSE and gRPC", self.callers));
        line(format_args!(
            "  operators  http://{}   /metrics /livez /readyz /status /config",
            self.operators
        ));
        line(format_args!("  data       {}", self.data_dir.display()));
        if !self.found.is_empty() {
            line(format_args!("  providers  {} (found in the environment)", self.found.join(", ")));
        }
        line(format_args!("  models     {}", shortened(self.aliases)));
        line(format_args!("  ready in   {} ms", self.took.as_millis()));
        if let Some(minted) = self.minted {
            let key = minted.expose_secret();
            let model = self.example_model();
            let address = if self.tls { format!("https://{callers}") } else { callers.to_string() };
            text.push_str(&first_key(minted));
            let mut line = |line: std::fmt::Arguments<'_>| {
                let _ = writeln!(text, "{line}"); // writing to a String cannot fail
            };
            line(format_args!("\nTry it:\n"));
            line(format_args!("  curl -N {scheme}://{callers}/v1/chat/completions \\"));
            line(format_args!("    -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\"));
            line(format_args!(
                "    -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello from Tollgate\"}}]}}'"
            ));
            line(format_args!(
                "\nOr from the command line, which `cargo install --path client` puts on the path:\n\n  TOLLGATE_ADDR={address} TOLLGATE_KEY={key} tollctl chat -m {model} 'Hello from Tollgate'\n"
            ));
        }
        text
    }

    fn example_model(&self) -> &str {
        let echo = self.aliases.iter().find(|alias| *alias == crate::config::ECHO);
        let plain = || self.aliases.iter().find(|alias| !alias.contains('*'));
        echo.or_else(plain).map_or("MODEL", String::as_str)
    }
}

/// Says what the first key is, this one time.
pub(super) fn first_key(key: &SecretString) -> String {
    let key = key.expose_secret();
    format!("\nThis is your first key. It may do everything and is shown this one time:\n\n  {key}\n")
}

/// Returns an address that this machine can call: the one for "all addresses" cannot be.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 if names.is_empty() => "none; add `models` to the configuration".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static NAMES: LazyLock<[String; 3]> = LazyLock::new(|| ["echo", "echo-*", "openai"].map(str::to_owned));

    fn facts(minted: Option<&SecretString>) -> Greeting<'_> {
        Greeting {
            callers: "0.0.0.0:8080".parse().unwrap(),
            operators: "127.0.0.1:9464".parse().unwrap(),
            tls: false,
            data_dir: Path::new("data"),
            found: &NAMES[2..],
            aliases: &NAMES[..2],
            minted,
            took: Duration::from_millis(17),
        }
    }

    fn greeting(minted: Option<&SecretString>) -> String {
        facts(minted).text()
    }

    #[test]
    fn a_minted_key_comes_with_a_line_that_can_be_run() {
        let text = greeting(Some(&"tg_abc_def".into()));
        assert!(text.contains("curl -N http://127.0.0.1:8080/v1/chat/completions"), "{text}");
        assert!(text.contains("Bearer tg_abc_def") && text.contains("\"model\":\"echo\""), "{text}");
        assert!(text.contains("TOLLGATE_KEY=tg_abc_def tollctl chat"), "{text}");
    }

    #[test]
    fn with_tls_the_example_of_tollctl_uses_it_too() {
        let key = "tg_abc_def".into();
        let text = Greeting { tls: true, ..facts(Some(&key)) }.text();
        assert!(text.contains("TOLLGATE_ADDR=https://127.0.0.1:8080 "), "{text}");
    }

    #[test]
    fn without_a_new_key_there_is_nothing_secret_and_no_example() {
        let text = greeting(None);
        assert!(text.contains("http://0.0.0.0:8080") && text.contains("openai (found in the environment)"));
        assert!(!text.contains("curl") && text.contains("ready in   17 ms"), "{text}");
    }
}
