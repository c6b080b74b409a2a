//! The server's certificate by request (`serverTLSBootstrap`): the one in the certificate folder while it lasts, then
//! others, each asked for when most of the time of the one before is over.
//!
//! Such requests are for an administrator to approve. Until the first is, no connection is accepted.
//! Source: `pkg/kubelet/certificate/kubelet.go`, `client-go/util/certificate`.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::tls::{self, Current};
use crate::certificates::{self, Issued, Wanted};
use crate::config::Config;

const SIGNER: &str = "kubernetes.io/kubelet-serving";
const USAGES: &[&str] = &["digital signature", "server auth"];
const FILE: &str = "kubelet-server-current.pem";
/// Between requests that came to nothing; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(128);

/// Keep `current` a certificate that lasts, until `shutdown`.
pub async fn keep(
    config: Arc<Config>,
    client: kube::Client,
    current: watch::Sender<Current>,
    shutdown: CancellationToken,
) {
    let request = request(&config);
    let mut renewal = load(&config, &request, &current);
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = renewal
            .map_or(Duration::ZERO, |at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default());
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let wanted = Wanted { signer: SIGNER, usages: USAGES, request: request.clone() };
        let timeout = Some(certificates::DECISION_TIMEOUT);
        let issued = match certificates::obtain(&client, &wanted, timeout, &shutdown).await {
            Ok(Some(issued)) => take(&config, &issued, &current),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match issued {
            Ok(at) => {
                tracing::info!(renewal = %at, "a new serving certificate");
                (renewal, pause) = (Some(at), FIRST_PAUSE);
            }
            Err(error) => {
                tracing::error!(error, "no serving certificate; asking again later");
                tokio::time::sleep(pause).await;
                renewal = None;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn request(config: &Config) -> pki::Request {
    pki::Request {
        common_name: format!("system:node:{}", config.node_name),
        organizations: vec!["system:nodes".into()],
        dns: vec![config.node_name.clone()],
        ips: config.node_ips.clone(),
        usage: pki::Usage { server: true, client: false },
        ..pki::Request::default()
    }
}

fn path(config: &Config) -> PathBuf {
    config.cert_dir.join(FILE)
}

/// Use the certificate in the folder, if it is ours and has not expired; when to ask for the next.
fn load(config: &Config, request: &pki::Request, current: &watch::Sender<Current>) -> Option<Timestamp> {
    let both = std::fs::read_to_string(path(config)).ok()?;
    if !pki::covers(&both, request, 0) {
        return None;
    }
    match tls::with_certificate(config, &both, &both) {
        Ok(tls) => {
            current.send_replace(Some(Arc::new(tls)));
            renewal(&both)
        }
        Err(error) => {
            tracing::warn!(%error, path = %path(config).display(), "this certificate is of no use");
            None
        }
    }
}

fn take(config: &Config, issued: &Issued, current: &watch::Sender<Current>) -> Result<Timestamp, String> {
    let tls = tls::with_certificate(config, &issued.certificate_pem, &issued.key_pem).map_err(|e| e.to_string())?;
    let at = renewal(&issued.certificate_pem).ok_or("it does not say until when it is valid")?;
    current.send_replace(Some(Arc::new(tls)));
    let both = format!("{}{}", issued.certificate_pem, issued.key_pem);
    // Without the file the next start asks again.
    let written = std::fs::create_dir_all(&config.cert_dir).map_err(|e| e.to_string());
    let written = written.and_then(|()| pki::write_private(&path(config), both.as_bytes()).map_err(|e| e.to_string()));
    if let Err(error) = written {
        tracing::warn!(error, "cannot keep the serving certificate");
    }
    Ok(at)
}

/// When most of a certificate's time is over: 70 to 90 %, so that not all nodes ask at once.
fn renewal(certificate_pem: &str) -> Option<Timestamp> {
    let (from, until) = pki::valid_between(certificate_pem)?;
    Some(renewal_within(Timestamp::from_second(from).ok()?, Timestamp::from_second(until).ok()?, rand::random()))
}

fn renewal_within(from: Timestamp, until: Timestamp, share: f64) -> Timestamp {
    let seconds = until.duration_since(from).as_secs_f64() * (0.7 + 0.2 * share);
    from + SignedDuration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_in_the_last_third() {
        let (from, until): (Timestamp, Timestamp) =
            ("2026-01-01T00:00:00Z".parse().expect("a time"), "2026-01-11T00:00:00Z".parse().expect("a time"));
        assert_eq!(renewal_within(from, until, 0.0).to_string(), "2026-01-08T00:00:00Z");
        assert_eq!(renewal_within(from, until, 1.0).to_string(), "2026-01-10T00:00:00Z");
    }
}
