//! What is seen of an upstream's own events as they pass, so that the end of a stream that fails fits them.

/// Longest id of a response that is believed, in bytes.
const MAX_ID: usize = 256;

/// What has passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Whether anything has.
    pub(super) any: bool,
    /// The last number of an event.
    pub(super) sequence_number: Option<u64>,
    /// The id of the response.
    pub(super) response_id: Option<String>,
}

impl Passed {
    /// Looks at whole events.
    pub(super) fn see(&mut self, events: &[u8]) {
        self.any |= !events.is_empty();
        if self.response_id.is_none() {
            self.response_id = response_id(events);
        }
        self.sequence_number = last_number(events).or(self.sequence_number);
    }
}

fn last_number(events: &[u8]) -> Option<u64> {
    let name = b"\"sequence_number\":";
    let after = events.get(memchr::memmem::rfind(events, name)? + name.len()..)?.trim_ascii_start();
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&after[..digits]).ok()?.parse().ok()
}

fn response_id(events: &[u8]) -> Option<String> {
    let after = |events: &'_ [u8], name: &[u8]| Some(memchr::memmem::find(events, name)? + name.len());
    let response = &events[after(events, b"\"response\":")?..];
    let value = response[after(response, b"\"id\":")?..].trim_ascii_start().strip_prefix(b"\"")?;
    let id = &value[..memchr::memchr(b'"', value).filter(|length| *length <= MAX_ID)?];
    let plain = id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    plain.then(|| String::from_utf8_lossy(id).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_and_the_first_id_are_kept() {
        let mut passed = Passed::default();
        passed.see(b"data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_a-1\",\"x\":1}}\n\n");
        passed.see(b"data: {\"sequence_number\": 7, \"delta\":\"\"}\n\ndata: {\"sequence_number\":12}\n\n");
        passed.see(b": keepalive\n\n");
        assert_eq!((passed.sequence_number, passed.response_id.as_deref()), (Some(12), Some("resp_a-1")));
        let mut odd = Passed::default();
        odd.see(b"\"response\":{\"id\":\"a b\"} \"sequence_number\":x");
        assert!(odd.any && odd.sequence_number.is_none() && odd.response_id.is_none());
    }
}
