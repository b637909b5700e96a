//! Queues: a message that was received is invisible for a while, comes again unless it was deleted,
//! and after too often goes to the queue of dead letters.

use std::collections::{BTreeMap, VecDeque};

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::aws::{Answer, Aws, Refusal, unknown};
use crate::input::Input;

/// Most messages that one request takes.
const BATCH_MAX: u32 = 10;
/// Most messages of a queue here; the oldest go first.
const MESSAGES_MAX: usize = 100_000;

/// State of SQS.
#[derive(Debug, Default)]
pub(crate) struct Sqs {
    queues: BTreeMap<String, Queue>,
}

#[derive(Debug)]
struct Queue {
    attributes: BTreeMap<String, String>,
    created: u64,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    sent: u64,
    visible: u64,
    received: u32,
    first_received: Option<u64>,
    receipt: Option<String>,
}

impl Queue {
    fn seconds(&self, key: &str, other: u64) -> u64 {
        self.attributes.get(key).and_then(|text| text.parse().ok()).unwrap_or(other)
    }

    /// Name of the queue of dead letters, and how often a message may be received.
    fn redrive(&self) -> Option<(String, u32)> {
        let policy: Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        let arn = Input(&policy).text("deadLetterTargetArn")?;
        let most = Input(&policy).count("maxReceiveCount").ok()??;
        Some((arn.rsplit(':').next()?.to_owned(), most))
    }

    fn expire(&mut self, now: u64) {
        let kept = self.seconds("MessageRetentionPeriod", 345_600) * 1_000;
        self.messages.retain(|message| message.sent + kept > now);
    }
}

fn no_queue() -> Refusal {
    let message = "The specified queue does not exist.";
    Refusal::new(400, "QueueDoesNotExist", message)
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Aws {
    pub(crate) fn sqs_call(&mut self, action: &str, input: Input<'_>) -> Answer {
        match action {
            "CreateQueue" => self.create_queue(input),
            "ListQueues" => Ok(json!({ "QueueUrls": self.queue_urls() })),
            "GetQueueUrl" => {
                let name = input.required("QueueName")?;
                self.sqs.queues.get(&name).ok_or_else(no_queue)?;
                Ok(json!({ "QueueUrl": self.queue_url(&name) }))
            }
            "GetQueueAttributes" => self.queue_attributes(input),
            "SetQueueAttributes" => {
                self.queue(input)?.1.attributes.extend(input.map("Attributes"));
                Ok(json!({}))
            }
            "DeleteQueue" => {
                let (name, _) = self.queue(input)?;
                self.sqs.queues.remove(&name);
                Ok(json!({}))
            }
            "PurgeQueue" => {
                self.queue(input)?.1.messages.clear();
                Ok(json!({}))
            }
            "SendMessage" => self.send_message(input),
            "ReceiveMessage" => self.receive_message(input),
            "DeleteMessage" => {
                let receipt = input.required("ReceiptHandle")?;
                self.delete_message(input, &receipt)?;
                Ok(json!({}))
            }
            "DeleteMessageBatch" => self.batch(input, Self::delete_message_of),
            "ChangeMessageVisibility" => {
                self.change_visibility(input, input)?;
                Ok(json!({}))
            }
            "ChangeMessageVisibilityBatch" => self.batch(input, Self::change_visibility),
            _ => Err(unknown(action)),
        }
    }

    fn queue_url(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.endpoint, self.config.account)
    }

    fn queue_urls(&self) -> Vec<String> {
        self.sqs.queues.keys().map(|name| self.queue_url(name)).collect()
    }

    fn queue(&mut self, input: Input<'_>) -> Result<(String, &mut Queue), Refusal> {
        let url = input.required("QueueUrl")?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        match self.sqs.queues.get_mut(&name) {
            Some(queue) => Ok((name, queue)),
            None => Err(no_queue()),
        }
    }

    fn create_queue(&mut self, input: Input<'_>) -> Answer {
        let (name, attributes) = (input.required("QueueName")?, input.map("Attributes"));
        let url = self.queue_url(&name);
        if let Some(queue) = self.sqs.queues.get(&name) {
            let same = |(key, value): (&String, &String)| queue.attributes.get(key) == Some(value);
            if !attributes.iter().all(same) {
                let message = "A queue already exists with the same name and a different value for an attribute.";
                return Err(Refusal::new(400, "QueueNameExists", message));
            }
        } else {
            let queue = Queue { attributes, created: self.now, messages: VecDeque::new() };
            self.sqs.queues.insert(name, queue);
        }
        Ok(json!({ "QueueUrl": url }))
    }

    fn queue_attributes(&mut self, input: Input<'_>) -> Answer {
        let now = self.now;
        let wanted = input.texts("AttributeNames");
        let name = self.queue(input)?.0;
        let arn = self.arn("sqs", &name);
        let (_, queue) = self.queue(input)?;
        queue.expire(now);
        let hidden = queue.messages.iter().filter(|m| m.visible > now && m.received > 0).count();
        let delayed = queue.messages.iter().filter(|m| m.visible > now && m.received == 0).count();
        let mut all = queue.attributes.clone();
        for (key, value) in [
            ("QueueArn", arn),
            ("CreatedTimestamp", (queue.created / 1_000).to_string()),
            ("LastModifiedTimestamp", (queue.created / 1_000).to_string()),
            ("ApproximateNumberOfMessages", (queue.messages.len() - hidden - delayed).to_string()),
            ("ApproximateNumberOfMessagesNotVisible", hidden.to_string()),
            ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
        ] {
            all.insert(key.to_owned(), value);
        }
        for (key, value) in [
            ("VisibilityTimeout", "30"),
            ("MessageRetentionPeriod", "345600"),
            ("ReceiveMessageWaitTimeSeconds", "0"),
            ("DelaySeconds", "0"),
            ("MaximumMessageSize", "262144"),
        ] {
            all.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let all_of_them = wanted.iter().any(|name| name == "All");
        all.retain(|key, _| all_of_them || wanted.contains(key));
        Ok(json!({ "Attributes": all }))
    }

    fn send_message(&mut self, input: Input<'_>) -> Answer {
        let body = input.required("MessageBody")?;
        let delay = input.count("DelaySeconds")?;
        let (name, queue) = self.queue(input)?;
        let delay = delay.map_or_else(|| queue.seconds("DelaySeconds", 0), u64::from);
        let digest = md5(&body);
        let id = self.enqueue(&name, body, delay * 1_000);
        Ok(json!({ "MessageId": id, "MD5OfMessageBody": digest }))
    }

    fn enqueue(&mut self, name: &str, body: String, delay_ms: u64) -> Option<String> {
        let (id, now) = (self.uuid(), self.now);
        let queue = self.sqs.queues.get_mut(name)?;
        queue.expire(now);
        if queue.messages.len() == MESSAGES_MAX {
            queue.messages.pop_front();
        }
        queue.messages.push_back(Message {
            id: id.clone(),
            body,
            sent: now,
            visible: now + delay_ms,
            received: 0,
            first_received: None,
            receipt: None,
        });
        Some(id)
    }

    /// Puts a message into a queue that is named by its ARN, as a topic does. Whether there is such
    /// a queue.
    pub fn queued(&mut self, arn: &str, body: String) -> bool {
        let name = arn.rsplit(':').next().unwrap_or_default().to_owned();
        self.enqueue(&name, body, 0).is_some()
    }

    /// How long a request for messages waits for the first, in milliseconds.
    pub(crate) fn receive_wait(&mut self, input: &Value) -> u64 {
        let input = Input(input);
        let said = input.count("WaitTimeSeconds").ok().flatten();
        let Ok((_, queue)) = self.queue(input) else { return 0 };
        let other = || queue.seconds("ReceiveMessageWaitTimeSeconds", 0);
        said.map_or_else(other, u64::from).min(20) * 1_000
    }

    fn receive_message(&mut self, input: Input<'_>) -> Answer {
        let most = input.count("MaxNumberOfMessages")?.unwrap_or(1);
        if !(1..=BATCH_MAX).contains(&most) {
            let message = format!(
                "Value {most} for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."
            );
            return Err(Refusal::new(400, "InvalidParameterValue", message));
        }
        let wanted: Vec<String> =
            [input.texts("AttributeNames"), input.texts("MessageSystemAttributeNames")].concat();
        let said = input.count("VisibilityTimeout")?;
        let now = self.now;
        let mut receipts: Vec<String> = (0..most).map(|_| self.hex(32)).collect();
        let (_, queue) = self.queue(input)?;
        queue.expire(now);
        let hidden = said.map_or_else(|| queue.seconds("VisibilityTimeout", 30), u64::from) * 1_000;
        let redrive = queue.redrive();
        let (mut dead, mut found) = (Vec::new(), Vec::new());
        let mut place = 0;
        while place < queue.messages.len() && !receipts.is_empty() {
            let message = &mut queue.messages[place];
            if message.visible > now {
                place += 1;
                continue;
            }
            if redrive.as_ref().is_some_and(|(_, most)| message.received >= *most) {
                dead.extend(queue.messages.remove(place));
                continue;
            }
            place += 1;
            let receipt = receipts.pop().unwrap_or_default();
            message.received += 1;
            message.visible = now + hidden;
            message.first_received.get_or_insert(now);
            let receipt = format!("{}/{receipt}", message.id);
            message.receipt = Some(receipt.clone());
            let mut attributes = json!({
                "SentTimestamp": message.sent.to_string(),
                "ApproximateReceiveCount": message.received.to_string(),
                "ApproximateFirstReceiveTimestamp": message.first_received.map(|at| at.to_string()),
            });
            if let Value::Object(attributes) = &mut attributes {
                let all = wanted.iter().any(|name| name == "All");
                attributes.retain(|key, _| all || wanted.contains(key));
            }
            found.push(json!({
                "MessageId": message.id,
                "ReceiptHandle": receipt,
                "Body": message.body,
                "MD5OfBody": md5(&message.body),
                "Attributes": attributes,
            }));
        }
        if let Some((name, _)) = redrive {
            for message in dead {
                self.enqueue(&name, message.body, 0);
            }
        }
        Ok(if found.is_empty() { json!({}) } else { json!({ "Messages": found }) })
    }

    /// Deletes a message that was received and is not visible again since; a receipt that is out of
    /// date deletes nothing.
    fn delete_message(&mut self, input: Input<'_>, receipt: &str) -> Result<(), Refusal> {
        let (_, queue) = self.queue(input)?;
        queue.messages.retain(|message| message.receipt.as_deref() != Some(receipt));
        Ok(())
    }

    fn delete_message_of(&mut self, input: Input<'_>, entry: Input<'_>) -> Result<(), Refusal> {
        let receipt = entry.required("ReceiptHandle")?;
        self.delete_message(input, &receipt)
    }

    fn change_visibility(&mut self, input: Input<'_>, entry: Input<'_>) -> Result<(), Refusal> {
        let receipt = entry.required("ReceiptHandle")?;
        let seconds = entry.count("VisibilityTimeout")?.unwrap_or(0);
        let now = self.now;
        let (_, queue) = self.queue(input)?;
        let held = queue.messages.iter_mut().find(|m| m.receipt.as_ref() == Some(&receipt));
        let held = held.ok_or_else(|| {
            let message = "The specified receipt handle isn't valid.";
            Refusal::new(400, "ReceiptHandleIsInvalid", message)
        })?;
        held.visible = now + u64::from(seconds) * 1_000;
        Ok(())
    }

    fn batch(
        &mut self,
        input: Input<'_>,
        each: fn(&mut Self, Input<'_>, Input<'_>) -> Result<(), Refusal>,
    ) -> Answer {
        self.queue(input)?;
        let (mut well, mut badly) = (Vec::new(), Vec::new());
        for entry in input.list("Entries") {
            let id = entry.required("Id")?;
            match each(self, input, entry) {
                Ok(()) => well.push(json!({ "Id": id })),
                Err(refusal) => badly.push(json!({
                    "Id": id, "SenderFault": true,
                    "Code": refusal.code, "Message": refusal.message,
                })),
            }
        }
        Ok(json!({ "Successful": well, "Failed": badly }))
    }
}
