//! Teams, for operators: make, list, change and delete them.

use tollgate_api::admin::{
    CreateTeamRequest, DeleteTeamRequest, GetTeamRequest, ListTeamsRequest, ListTeamsResponse, Team,
    UpdateTeamRequest, team_service_client::TeamServiceClient,
};
use tonic::transport::Channel;

use crate::{
    builder::MAX_MESSAGE,
    client::Client,
    error::{Error, Result},
    retry::Repeat,
};

/// The calls of `TeamService`, which need the scope `admin`; made by [`Client::teams`].
#[derive(Clone, Debug)]
pub struct Teams(Client);

impl Client {
    /// Returns the calls about teams.
    pub fn teams(&self) -> Teams {
        Teams(self.clone())
    }
}

fn stub(channel: Channel) -> TeamServiceClient<Channel> {
    TeamServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

impl Teams {
    /// Makes a team. If there is one with that id already, nothing changes and it fails.
    pub async fn create(&self, request: CreateTeamRequest) -> Result<Team> {
        let response = self
            .0
            .send(Repeat::Never, request, |channel, request| async move {
                stub(channel).create_team(request).await
            })
            .await?;
        response.into_inner().team.ok_or_else(|| Error::incomplete("team"))
    }

    /// Returns one page of teams, by id.
    pub async fn list(&self, request: ListTeamsRequest) -> Result<ListTeamsResponse> {
        let response =
            self.0
                .send(Repeat::Safe, request, |channel, request| async move {
                    stub(channel).list_teams(request).await
                })
                .await?;
        Ok(response.into_inner())
    }

    /// Returns the teams of every page, those directly below one team if `parent_id` is not empty.
    pub async fn list_all(&self, parent_id: impl Into<String>) -> Result<Vec<Team>> {
        let parent_id = parent_id.into();
        let mut request = ListTeamsRequest { page_size: 1000, parent_id, ..Default::default() };
        let mut teams = Vec::new();
        loop {
            let page = self.list(request.clone()).await?;
            teams.extend(page.teams);
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(teams);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns one team.
    pub async fn get(&self, id: impl Into<String>) -> Result<Team> {
        let request = GetTeamRequest { id: id.into() };
        let response =
            self.0
                .send(Repeat::Safe, request, |channel, request| async move {
                    stub(channel).get_team(request).await
                })
                .await?;
        response.into_inner().team.ok_or_else(|| Error::incomplete("team"))
    }

    /// Changes the fields that the mask names, and returns the team as it is then.
    pub async fn update(&self, request: UpdateTeamRequest) -> Result<Team> {
        let response = self
            .0
            .send(Repeat::Never, request, |channel, request| async move {
                stub(channel).update_team(request).await
            })
            .await?;
        response.into_inner().team.ok_or_else(|| Error::incomplete("team"))
    }

    /// Deletes a team that has neither keys nor teams.
    pub async fn delete(&self, id: impl Into<String>) -> Result<()> {
        let request = DeleteTeamRequest { id: id.into() };
        self.0
            .send(Repeat::Never, request, |channel, request| async move {
                stub(channel).delete_team(request).await
            })
            .await?;
        Ok(())
    }
}
