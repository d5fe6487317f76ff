//! What calls used and cost: reports, records, and records as they are made.

use tollgate_api::v1::{
    GetQuotaRequest, GetUsageRecordRequest, ListUsageRecordsRequest, ListUsageRecordsResponse,
    QueryUsageRequest, QueryUsageResponse, Quota, UsageRecord, UsageRow, WatchQuotaRequest,
    WatchUsageRequest, usage_service_client::UsageServiceClient,
};
use tonic::transport::Channel;

use crate::{
    builder::MAX_MESSAGE,
    client::Client,
    error::{Error, Result},
    retry::Repeat,
    stream::{QuotaStream, RecordStream},
};

/// The calls of `UsageService`; made by [`Client::usage`].
#[derive(Clone, Debug)]
pub struct Usage(Client);

impl Client {
    /// Returns the calls about usage.
    pub fn usage(&self) -> Usage {
        Usage(self.clone())
    }
}

fn stub(channel: Channel) -> UsageServiceClient<Channel> {
    UsageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

impl Usage {
    /// Returns one page of sums over usage, by bucket and group.
    pub async fn query(&self, request: QueryUsageRequest) -> Result<QueryUsageResponse> {
        let response = self
            .0
            .send(Repeat::Safe, request, |channel, request| async move {
                stub(channel).query_usage(request).await
            })
            .await?;
        Ok(response.into_inner())
    }

    /// Returns the rows of every page.
    pub async fn query_all(&self, mut request: QueryUsageRequest) -> Result<Vec<UsageRow>> {
        let mut rows = Vec::new();
        loop {
            let page = self.query(request.clone()).await?;
            rows.extend(page.rows);
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                return Ok(rows);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Returns one page of records, newest first.
    pub async fn list(&self, request: ListUsageRecordsRequest) -> Result<ListUsageRecordsResponse> {
        let response = self
            .0
            .send(Repeat::Safe, request, |channel, request| async move {
                stub(channel).list_usage_records(request).await
            })
            .await?;
        Ok(response.into_inner())
    }

    /// Returns the record of one call, by the call's id.
    pub async fn get(&self, id: impl Into<String>) -> Result<UsageRecord> {
        let request = GetUsageRecordRequest { id: id.into() };
        let response = self
            .0
            .send(Repeat::Safe, request, |channel, request| async move {
                stub(channel).get_usage_record(request).await
            })
            .await?;
        response.into_inner().record.ok_or_else(|| Error::incomplete("record"))
    }

    /// Returns records as they are made, until the stream is dropped or the client's timeout is over.
    pub async fn watch(&self, request: WatchUsageRequest) -> Result<RecordStream> {
        let deadline = self.0.deadline();
        let response = self
            .0
            .send_until(deadline, Repeat::Safe, request, |channel, request| async move {
                stub(channel).watch_usage(request).await
            })
            .await?;
        Ok(RecordStream::new(response, deadline))
    }

    /// Returns every limit that holds for calls of this key, with what is used of it.
    pub async fn quotas(&self) -> Result<Vec<Quota>> {
        let response = self
            .0
            .send(Repeat::Safe, GetQuotaRequest {}, |channel, request| async move {
                stub(channel).get_quota(request).await
            })
            .await?;
        Ok(response.into_inner().quotas)
    }

    /// Returns quotas as they pass thresholds, until the stream is dropped or the client's timeout is over.
    pub async fn watch_quotas(&self, request: WatchQuotaRequest) -> Result<QuotaStream> {
        let deadline = self.0.deadline();
        let response = self
            .0
            .send_until(deadline, Repeat::Safe, request, |channel, request| async move {
                stub(channel).watch_quota(request).await
            })
            .await?;
        Ok(QuotaStream::new(response, deadline))
    }
}
