//! The two requests that a pull makes. Invariant: no more bytes are taken than were announced.

use futures::StreamExt as _;
use oci_client::errors::DigestError;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    OciDescriptor,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::error::Failure;

/// Indexes are asked for only to be able to say that they are of no use here.
const MANIFESTS: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// The manifest's own bytes, so that its digest can be checked.
pub(super) async fn manifest(client: &Client, image: &Reference, auth: &RegistryAuth) -> Result<Vec<u8>, Failure> {
    let (bytes, _) = client.pull_manifest_raw(image, auth, &MANIFESTS).await?;
    Ok(bytes.to_vec())
}

/// A layer of exactly `size` bytes.
pub(super) async fn blob(
    client: &Client,
    image: &Reference,
    auth: &RegistryAuth,
    layer: &OciDescriptor,
    size: u64,
) -> Result<Vec<u8>, Failure> {
    client.store_auth_if_needed(image.resolve_registry(), auth).await;
    let mut stream = client.pull_blob_stream(image, layer).await?.stream;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        // A connection that breaks off and bytes with another digest both come as an I/O error; only the first may pass by itself.
        let chunk = chunk.map_err(|error| match error.get_ref() {
            Some(cause) if cause.is::<DigestError>() => Failure::Refused(error.to_string()),
            _ => Failure::Away(error.to_string()),
        })?;
        bytes.extend_from_slice(&chunk);
        if u64::try_from(bytes.len()).is_ok_and(|length| length > size) {
            return Err(Failure::Refused(format!("the registry sends more than the {size} bytes that it announced")));
        }
    }
    Ok(bytes)
}
