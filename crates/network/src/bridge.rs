//! The bridge that pods of a node hang on, over netlink.
use crate::Error;
use futures::TryStreamExt;
use rtnetlink::{Handle, LinkBridge, LinkUnspec};
use std::net::Ipv4Addr;

/// "No such device" and "File exists", as netlink reports them.
const ENODEV: i32 = 19;
const EEXIST: i32 = 17;

async fn handle() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    tokio::spawn(connection);
    Ok(handle)
}

fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, rtnetlink::Error> {
    match handle.link().get().match_name(name.to_owned()).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if code(&error) == Some(ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A bridge called `name`, up, with `gateway/prefix` on it. Idempotent.
pub(crate) async fn ensure(name: &str, gateway: Ipv4Addr, prefix: u8) -> Result<(), Error> {
    let handle = handle().await?;
    let wrap = |source| Error::Bridge { name: name.to_owned(), source };
    if index(&handle, name).await.map_err(wrap)?.is_none() {
        handle.link().add(LinkBridge::new(name).build()).execute().await.map_err(wrap)?;
    }
    let index = index(&handle, name).await.map_err(wrap)?.ok_or_else(|| wrap(rtnetlink::Error::RequestFailed))?;
    match handle.address().add(index, gateway.into(), prefix).execute().await {
        Ok(()) => {}
        Err(error) if code(&error) == Some(EEXIST) => {}
        Err(error) => return Err(wrap(error)),
    }
    handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await.map_err(wrap)
}

pub(crate) async fn remove(name: &str) -> Result<(), Error> {
    let handle = handle().await?;
    let wrap = |source| Error::Bridge { name: name.to_owned(), source };
    match index(&handle, name).await.map_err(wrap)? {
        None => Ok(()),
        Some(index) => handle.link().del(index).execute().await.map_err(wrap),
    }
}
