//! The room as a whole, with a clock of the tests' own.

mod admin;
mod authority;
mod budgets;
mod doors;
mod start;
mod teams;

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use prost_types::FieldMask;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tollgate_api::admin::{
    self as proto, CreateKeyRequest, CreateKeyResponse, Key, Limit, ListKeysRequest, RotateKeyRequest,
    RotateKeyResponse, UpdateKeyRequest,
};
use tollgate_api::v1;

use super::{authority::Authority, *};
use crate::{
    call::{Priority, Scope},
    error::Reason,
};

const ADMIN_SECRET: &str = "operator-secret-operator-secret-0001";
const CANARY: &str = "canary-canary-canary-canary-canary-42";

struct House {
    dir: TempDir,
    auth: Arc<Auth>,
}

fn try_start(dir: &TempDir, declared: Vec<DeclaredKey>, admin: Option<&str>) -> Result<Arc<Auth>, String> {
    let declared =
        Declared { keys: declared, admin_key: admin.map(SecretString::from), ..Declared::default() };
    Auth::start(dir.path(), &dir.path().join("tollgate.db"), declared, None)
}

fn declared(name: &str, key: &str) -> DeclaredKey {
    DeclaredKey {
        name: name.to_owned(),
        key: key.into(),
        team: String::new(),
        scopes: None,
        models: Vec::new(),
        tags: BTreeMap::new(),
        limits: Vec::new(),
        priority: Priority::default(),
        expires: None,
    }
}

fn only(key: DeclaredKey) -> Declared {
    Declared { keys: vec![key], ..Declared::default() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A moment that all tests without a clock of their own share.
fn now() -> SystemTime {
    at(1_900_000_000)
}

fn bearer(key: &str) -> HeaderMap {
    let name = http::header::AUTHORIZATION;
    HeaderMap::from_iter([(name, format!("Bearer {key}").parse().unwrap())])
}

impl House {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(declared: Vec<DeclaredKey>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let auth = try_start(&dir, declared, Some(ADMIN_SECRET)).unwrap();
        Self { dir, auth }
    }

    fn restart(self) -> Self {
        self.restart_with(Vec::new())
    }

    fn restart_with(self, declared: Vec<DeclaredKey>) -> Self {
        let Self { dir, auth } = self;
        drop(auth);
        let auth = try_start(&dir, declared, Some(ADMIN_SECRET)).unwrap();
        Self { dir, auth }
    }

    fn room(&self) -> &Room {
        &self.auth.room
    }

    fn knock(&self, headers: &HeaderMap, query: Option<&str>, now: SystemTime) -> Result<Arc<Caller>, Error> {
        match self.room().find(headers, query, now)? {
            Found::Caller(caller) => Ok(caller),
            Found::Unknown(_) => Err(credential::refused()),
        }
    }

    fn enter(&self, key: &str, now: SystemTime) -> Result<Arc<Caller>, Error> {
        self.knock(&bearer(key), None, now)
    }

    fn refusal(&self, key: &str, now: SystemTime) -> Reason {
        self.enter(key, now).unwrap_err().reason()
    }

    fn root(&self) -> Authority {
        self.authority(ADMIN_SECRET)
    }

    fn authority(&self, key: &str) -> Authority {
        Authority::of(&self.enter(key, now()).unwrap(), &self.room().index).unwrap()
    }

    fn create(&self, key: Key) -> CreateKeyResponse {
        self.try_create(&self.root(), key, "").unwrap()
    }

    fn try_create(&self, who: &Authority, key: Key, request_id: &str) -> Result<CreateKeyResponse, Error> {
        let request = CreateKeyRequest { key: Some(key), request_id: request_id.to_owned() };
        self.room().create(who, &request, now())
    }

    fn update(&self, key: Key, paths: &[&str]) -> Result<Key, Error> {
        self.update_as(&self.root(), key, paths)
    }

    fn update_as(&self, who: &Authority, key: Key, paths: &[&str]) -> Result<Key, Error> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateKeyRequest { key: Some(key), update_mask: Some(FieldMask { paths }) };
        self.room().update(who, &request, now()).map(|response| response.key.unwrap())
    }

    fn get(&self, id: &str) -> Result<Key, Error> {
        self.room().get(&self.root(), id).map(|response| response.key.unwrap())
    }

    fn revoke(&self, id: &str) -> Result<(), Error> {
        self.room().revoke(&self.root(), id, now()).map(drop)
    }

    fn rotate(&self, id: &str, until: Option<SystemTime>) -> Result<RotateKeyResponse, Error> {
        self.rotate_as(&self.root(), id, until, "")
    }

    fn rotate_as(
        &self,
        who: &Authority,
        id: &str,
        until: Option<SystemTime>,
        request_id: &str,
    ) -> Result<RotateKeyResponse, Error> {
        let request = RotateKeyRequest {
            id: id.to_owned(),
            old_expire_time: until.map(Into::into),
            request_id: request_id.to_owned(),
        };
        self.room().rotate(who, &request, now())
    }

    fn list(&self, page_size: i32, page_token: &str, team_id: &str) -> Result<(Vec<Key>, String), Error> {
        let request =
            ListKeysRequest { page_size, page_token: page_token.to_owned(), team_id: team_id.to_owned() };
        self.room().list(&self.root(), &request).map(|page| (page.keys, page.next_page_token))
    }

    fn team(&self, team: proto::Team) -> proto::Team {
        self.team_as(&self.root(), team).unwrap()
    }

    fn team_as(&self, who: &Authority, team: proto::Team) -> Result<proto::Team, Error> {
        let request = proto::CreateTeamRequest { team: Some(team) };
        self.room().create_team(who, &request, now()).map(|made| made.team.unwrap())
    }

    fn update_team_as(
        &self,
        who: &Authority,
        team: proto::Team,
        paths: &[&str],
    ) -> Result<proto::Team, Error> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = proto::UpdateTeamRequest { team: Some(team), update_mask: Some(FieldMask { paths }) };
        self.room().update_team(who, &request).map(|changed| changed.team.unwrap())
    }

    /// Makes an admin's key that belongs to a team.
    fn admin_of(&self, team: &str) -> Authority {
        let key =
            Key { team_id: team.to_owned(), ..with_scopes(&format!("admin of {team}"), &["chat", "admin"]) };
        self.authority(&self.create(key).secret)
    }

    /// Everything that is on the disk, in one piece.
    fn disk(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

fn named(name: &str) -> Key {
    Key { name: name.to_owned(), ..Key::default() }
}

fn with_scopes(name: &str, scopes: &[&str]) -> Key {
    Key { scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(), ..named(name) }
}

fn team(id: &str, parent: &str) -> proto::Team {
    proto::Team { id: id.to_owned(), parent_id: parent.to_owned(), ..Default::default() }
}

fn of_team(name: &str, team: &str) -> Key {
    Key { team_id: team.to_owned(), ..named(name) }
}

fn limit(metric: &str, window: &str, amount: i64) -> Limit {
    Limit { metric: metric.to_owned(), window: window.to_owned(), amount, ..Default::default() }
}

fn field(error: &Error) -> &str {
    error.facts().field.as_deref().unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
