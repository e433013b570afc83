-- What a bounce says about the address, by the words and codes of the providers: the table of schemas/events/bounces.py, checked against
-- the providers' documentation. Codes of a provider's own queues say nothing about the receiver, and SendGrid writes its classifications
-- in two ways.

CREATE OR REPLACE VIEW {{database}}.bounce_types {{on_cluster}}
(
    name String COMMENT 'Word in lower case without spaces and punctuation, or code; 5.7. stands for all status codes that begin so',
    class UInt8 COMMENT '1 permanent, 2 transient, 3 not about the address, 4 no bounce, 5 unsubscription, 6 spam complaint; the greatest of a report counts'
)
AS SELECT arrayJoin(splitByChar(' ', entry.2)) AS name, toUInt8(entry.1) AS class
FROM
(
    SELECT arrayJoin([
        (1, 'hard hardbounce permanent permanentfail permanentfailure bounce invalid invalidemail invalidaddress bademailaddress badmailbox baddomain invaliddomain invalidrecipient unknownuser usernotfound nosuchuser noemail mailboxdoesnotexist addressdoesnotexist suppressed onaccountsuppressionlist suppressbounce bouncedaddress manuallydeactivated 550 551 553 521 556 605 5.1. 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1 21211 21614 21635 30005 30006 63003 63024 unregistered notregistered invalidregistration devicenotregistered baddevicetoken'),
        (2, 'soft softbounce transient temporary temporaryfail temporaryfailure deferred deferral delayed greylisted old mailboxfull mailboxunavailable customtimeoutexceeded technical technicalfailure dnserror 421 450 451 452 552 4. 5.2.2 5.3. 5.4. 30003'),
        (3, 'blocked block undetermined unknown messagetoolarge contentrejected attachmentrejected content reputation frequencyorvolumetoohigh frequencyvolume frequency volume spamnotification virusnotification unconfirmed smtpapierror inbounderror dmarcpolicy templaterenderingfailed espblock policy spam 554 571 4.7. 5.1.7 5.1.8 5.2.3 5.3.4 5.6. 5.7. 21408 30001 30002 30004 30007 30008 30009 30410 63016 131026 131047 131049'),
        (4, 'autoresponder autoreply autoreplied outofoffice vacation challenge challengeresponse challengeverification addresschange openrelaytest subscribe'),
        (5, 'unsubscribe unsubscribed unsubscribedaddress unsubscribedrecipient suppressunsubscribe 606 21610 131050'),
        (6, 'complaint complained spamcomplaint spamreport spamreportingaddress abuse suppresscomplaint 607')]) AS entry
)
COMMENT 'What the bounces of message providers mean, one row for each word and code.';
