//! After both sides switched protocols: bytes in both directions until one side ends.
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

pub(super) fn spawn(client: OnUpgrade, backend: OnUpgrade) {
    tokio::spawn(async move {
        let (client, backend) = match tokio::try_join!(client, backend) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "upgrade");
                return;
            }
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
            tracing::debug!(%error, "tunnel ended");
        }
    });
}
