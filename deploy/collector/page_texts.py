"""The texts of the pages that people come to from a message, by language."""

from __future__ import annotations

from typing import NamedTuple

from processors.delivery.templates import nearest


class PageTexts(NamedTuple):
    """The texts in one language; `{channel}` stands for the name of a channel.

    Attributes:
        language: Its code.
        unsubscribe: Heading of the page that asks once more.
        ask: Its question.
        confirm: Its button.
        unsubscribed: What it says afterwards.
        preferences: Heading of the preference page, and the link to it.
        channels: Heading of the channels.
        topics: Heading of the topics.
        save: Its button.
        saved: What it says afterwards.
        invalid: The address is none.
        later: The answer could not be stored.
        names: Names of channels.
    """

    language: str
    unsubscribe: str
    ask: str
    confirm: str
    unsubscribed: str
    preferences: str
    channels: str
    topics: str
    save: str
    saved: str
    invalid: str
    later: str
    names: dict[str, str]


_ALL = (
    PageTexts(
        "en",
        "Unsubscribe",
        "Do you want no more messages from us by {channel}?",
        "No more messages",
        "You will get no more messages from us by {channel}.",
        "Your preferences",
        "How may we write to you?",
        "What about?",
        "Save",
        "Your preferences are saved.",
        "This link is not complete. Please open it again from the message.",
        "We could not save this. Please try again in a moment.",
        {"email": "e-mail", "sms": "text message", "app_push": "notification in the app",
         "web_push": "notification in the browser"},
    ),
    PageTexts(
        "de",
        "Abmelden",
        "Möchten Sie keine Nachrichten mehr von uns per {channel}?",
        "Keine Nachrichten mehr",
        "Sie erhalten von uns keine Nachrichten mehr per {channel}.",
        "Ihre Einstellungen",
        "Wie dürfen wir Ihnen schreiben?",
        "Worüber?",
        "Speichern",
        "Ihre Einstellungen sind gespeichert.",
        "Dieser Link ist nicht vollständig. Bitte öffnen Sie ihn noch einmal aus der Nachricht.",
        "Das konnten wir nicht speichern. Bitte versuchen Sie es gleich noch einmal.",
        {"email": "E-Mail", "sms": "SMS", "app_push": "Mitteilung in der App", "web_push": "Mitteilung im Browser"},
    ),
    PageTexts(
        "fr",
        "Se désabonner",
        "Ne souhaitez-vous plus recevoir nos messages par {channel} ?",
        "Plus de messages",
        "Vous ne recevrez plus nos messages par {channel}.",
        "Vos préférences",
        "Comment pouvons-nous vous écrire ?",
        "À quel sujet ?",
        "Enregistrer",
        "Vos préférences sont enregistrées.",
        "Ce lien est incomplet. Veuillez l’ouvrir à nouveau depuis le message.",
        "Nous n’avons pas pu l’enregistrer. Veuillez réessayer dans un instant.",
        {"email": "e-mail", "sms": "SMS", "app_push": "notification de l’application",
         "web_push": "notification du navigateur"},
    ),
    PageTexts(
        "es",
        "Darse de baja",
        "¿No quiere recibir más mensajes nuestros por {channel}?",
        "No más mensajes",
        "No recibirá más mensajes nuestros por {channel}.",
        "Sus preferencias",
        "¿Cómo podemos escribirle?",
        "¿Sobre qué?",
        "Guardar",
        "Sus preferencias se han guardado.",
        "Este enlace no está completo. Ábralo de nuevo desde el mensaje.",
        "No hemos podido guardarlo. Inténtelo de nuevo en un momento.",
        {"email": "correo electrónico", "sms": "SMS", "app_push": "notificación de la aplicación",
         "web_push": "notificación del navegador"},
    ),
    PageTexts(
        "it",
        "Annulla iscrizione",
        "Non desidera più ricevere i nostri messaggi via {channel}?",
        "Niente più messaggi",
        "Non riceverà più i nostri messaggi via {channel}.",
        "Le Sue preferenze",
        "Come possiamo scriverle?",
        "Su che cosa?",
        "Salva",
        "Le Sue preferenze sono salvate.",
        "Questo link non è completo. Lo apra di nuovo dal messaggio.",
        "Non è stato possibile salvare. Riprovi tra un momento.",
        {"email": "e-mail", "sms": "SMS", "app_push": "notifica dell’app", "web_push": "notifica del browser"},
    ),
    PageTexts(
        "nl",
        "Afmelden",
        "Wilt u geen berichten meer van ons per {channel}?",
        "Geen berichten meer",
        "U krijgt van ons geen berichten meer per {channel}.",
        "Uw voorkeuren",
        "Hoe mogen wij u schrijven?",
        "Waarover?",
        "Opslaan",
        "Uw voorkeuren zijn opgeslagen.",
        "Deze link is niet volledig. Open hem opnieuw vanuit het bericht.",
        "Dit konden wij niet opslaan. Probeer het zo meteen opnieuw.",
        {"email": "e-mail", "sms": "sms", "app_push": "melding in de app", "web_push": "melding in de browser"},
    ),
)  # fmt: skip
_TEXTS = {one.language: one for one in _ALL}
_BRANDS = {"whatsapp": "WhatsApp", "messenger": "Messenger", "telegram": "Telegram"}


def texts_for(locale: str) -> PageTexts:
    """Return the texts for a locale such as `de-AT`; English where there are none."""
    return _TEXTS[nearest(locale, _TEXTS, "en")]


def channel_name(texts: PageTexts, channel: str) -> str:
    """Return what a channel is called."""
    return texts.names.get(channel) or _BRANDS.get(channel) or channel.replace("_", " ")
