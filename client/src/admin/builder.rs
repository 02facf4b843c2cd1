//! Setting a client up.

use std::{fmt, sync::atomic::AtomicUsize, time::Duration};

use reqwest::{header::HeaderValue, redirect::Policy};

use super::{client::AdminClient, error::AdminError, rounds::Rounds};
use crate::builder::{StartError, endpoint};

/// What an [`AdminClient`] is set up from.
#[derive(Clone)]
pub struct AdminBuilder {
    endpoints: Vec<String>,
    token: Option<String>,
    connect_timeout: Duration,
    request_timeout: Duration,
    retry_for: Duration,
    user_agent: String,
}

impl Default for AdminBuilder {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            token: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(5),
            user_agent: concat!("flagraft-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for AdminBuilder {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("endpoints", &self.endpoints)
            .field("token", &self.token.as_ref().map(|_| "redacted"))
            .finish_non_exhaustive()
    }
}

impl AdminBuilder {
    /// A node's address, such as `http://10.0.0.1:7401`. Name several: any one of them is enough. They are asked in order, the
    /// one that answered last first.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// Several nodes' addresses.
    #[must_use]
    pub fn endpoints<S: Into<String>>(mut self, urls: impl IntoIterator<Item = S>) -> Self {
        self.endpoints.extend(urls.into_iter().map(Into::into));
        self
    }

    /// The admin token, `fr_adm_...`. Without one only what needs none can be asked.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long reaching a node may take before the next one is tried. Default: 2 s.
    #[must_use]
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long one node may take to answer, and how long a download may pause. Default: 10 s.
    #[must_use]
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.request_timeout = time;
        self
    }

    /// For how long to go on asking while every node says that it is unavailable: while a leader is elected. Default: 5 s.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// What requests call their sender, such as `deployer/1.2`. Default: this crate.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// The client. No node is asked yet.
    ///
    /// # Errors
    /// [`AdminError`] where it could never work as it is set up.
    pub fn build(self) -> Result<AdminClient, AdminError> {
        let Self { endpoints, token, connect_timeout, request_timeout, retry_for, user_agent } = self;
        let endpoints = endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(StartError::NoEndpoint.into());
        }
        let authorization = token.map(|token| {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let mut value = value.map_err(|_| AdminError::bad_token())?;
            value.set_sensitive(true);
            Ok::<_, AdminError>(value)
        });
        let user_agent = HeaderValue::from_str(&user_agent).map_err(|_| {
            AdminError::invalid(
                "the user agent holds characters that no header takes",
                "give printable ASCII",
            )
        })?;
        let http = reqwest::Client::builder()
            // Nodes are asked directly: a proxy of the environment would only hide which one answered.
            .no_proxy()
            // Whoever could redirect a request would be sent the token.
            .redirect(Policy::none())
            .connect_timeout(connect_timeout)
            .timeout(request_timeout)
            .user_agent(user_agent)
            .build()
            .map_err(|_| StartError::Tls)?;
        Ok(AdminClient::new(Rounds {
            http,
            endpoints,
            first: AtomicUsize::new(0),
            authorization: authorization.transpose()?,
            timeout: request_timeout,
            retry_for,
        }))
    }
}

impl From<StartError> for AdminError {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((message, advice)) => Self::invalid(message, advice),
            None => Self::invalid(text, "see `AdminBuilder`"),
        }
    }
}
