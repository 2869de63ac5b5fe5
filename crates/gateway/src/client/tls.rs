//! The fixes of TLS errors, for an operator.

use std::error::Error;

/// Returns the fix of the TLS error among the causes of an error.
#[cfg(not(feature = "tls"))]
pub(super) fn fix(_: &(dyn Error + 'static)) -> Option<&'static str> {
    None
}

/// Returns the fix of the TLS error among the causes of an error.
#[cfg(feature = "tls")]
pub(super) fn fix(error: &(dyn Error + 'static)) -> Option<&'static str> {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};

    Some(match cause(error)? {
        InvalidCertificate(UnknownIssuer) => {
            "Set the participant's `tls.ca` to the certificate of the authority that issued its \
             certificate"
        }
        InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "Write a name of the participant's certificate in `url`, or issue a certificate for \
             this name"
        }
        InvalidMessage(_) => {
            "The participant does not answer with TLS: write http:// in `url`, or correct its port"
        }
        AlertReceived(_) => {
            "The participant rejects the connection: set `tls.certificate` and `tls.key` to a \
             client certificate that it accepts"
        }
        _ => return None,
    })
}

/// Returns the TLS error among the causes of an error. Each layer may wrap it in an I/O error,
/// which `source` skips.
#[cfg(feature = "tls")]
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(mut this) = cause {
        while let Some(wrapped) = this.downcast_ref().and_then(std::io::Error::get_ref) {
            this = wrapped;
        }
        if let Some(found) = this.downcast_ref() {
            return Some(found);
        }
        cause = this.source();
    }
    None
}
