"""Identity proofing face to face: one officer looks at the card's chip or at a document, a second one confirms."""

from idp.proofing.in_person.backend import InPersonBackend as InPersonBackend
from idp.proofing.in_person.backend import in_person_backend as in_person_backend
from idp.proofing.in_person.counter import InPersonCounter as InPersonCounter
from idp.proofing.in_person.counter import Looked as Looked
from idp.proofing.in_person.counter import NotChecked as NotChecked
from idp.proofing.in_person.settings import InPersonSettings as InPersonSettings
