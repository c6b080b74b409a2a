//! One question, one answer: ours from the index, others' from upstream.
use crate::{
    forward::Forwarder,
    index::Index,
    zone::{Answer, Zone},
};
use hickory_net::{runtime::Time, xfer::Protocol};
use hickory_proto::{
    op::{Edns, Message, Metadata, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use hickory_server::{
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use parking_lot::RwLock;
use std::sync::Arc;

/// The largest UDP answer we send, whatever the client says it can take: what no network fragments.
const MAX_UDP_PAYLOAD: u16 = 1232;

pub(crate) struct Handler {
    zone: Zone,
    index: Arc<RwLock<Index>>,
    forwarder: Forwarder,
}

/// An answer, ready to be sent.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    recursion_available: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Reply {
    fn code(code: ResponseCode) -> Self {
        Reply {
            code,
            authoritative: false,
            recursion_available: true,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    fn relayed(message: Message) -> Self {
        Reply {
            code: message.metadata.response_code,
            authoritative: false,
            recursion_available: true,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }
}

impl Handler {
    pub fn new(zone: Zone, index: Arc<RwLock<Index>>, forwarder: Forwarder) -> Self {
        Handler { zone, index, forwarder }
    }

    async fn answer(&self, request: &Request) -> Reply {
        if request.metadata.op_code != OpCode::Query {
            return Reply::code(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return Reply::code(ResponseCode::FormErr) };
        let (name, wanted) = (info.query.original().name().clone(), info.query.query_type());
        let found = self.zone.lookup(&self.index.read(), &name, wanted);
        match found {
            Answer::Elsewhere => {
                match self.forwarder.ask(request.as_slice(), request.protocol() != Protocol::Udp).await {
                    Some(message) => Reply::relayed(message),
                    None => Reply::code(ResponseCode::ServFail),
                }
            }
            Answer::NoSuchName => {
                Reply { authoritative: true, authorities: vec![self.zone.soa()], ..Reply::code(ResponseCode::NXDomain) }
            }
            Answer::Records { answers, additionals } => {
                let authorities = if answers.is_empty() { vec![self.zone.soa()] } else { Vec::new() };
                let answers = self.follow_alias(answers, wanted).await;
                Reply { authoritative: true, answers, authorities, additionals, ..Reply::code(ResponseCode::NoError) }
            }
        }
    }

    /// An ExternalName leads elsewhere: clients expect the addresses in the same answer.
    async fn follow_alias(&self, mut answers: Vec<Record>, wanted: RecordType) -> Vec<Record> {
        let target: Option<Name> = match answers.as_slice() {
            [Record { data: RData::CNAME(alias), .. }] if wanted != RecordType::CNAME => Some(alias.0.clone()),
            _ => None,
        };
        let Some(target) = target else { return answers };
        let found = self.zone.lookup(&self.index.read(), &target, wanted);
        match found {
            Answer::Records { answers: more, .. } => answers.extend(more),
            Answer::NoSuchName => {}
            Answer::Elsewhere => {
                let mut question = Message::query();
                question.metadata.id = rand::random();
                question.metadata.recursion_desired = true;
                question.add_query(hickory_proto::op::Query::query(target, wanted));
                if let Ok(bytes) = question.to_vec()
                    && let Some(message) = self.forwarder.ask(&bytes, false).await
                {
                    answers.extend(message.answers);
                }
            }
        }
        answers
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let reply = self.answer(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = reply.recursion_available;
        let asked = request.edns.as_ref();
        let edns = asked.map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, MAX_UDP_PAYLOAD));
            edns.set_version(0);
            edns
        });
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let response = builder.build(metadata, &reply.answers, &reply.authorities, [], &reply.additionals);
        match out.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                hickory_proto::op::Header { metadata, counts: Default::default() }.into()
            }
        }
    }
}
