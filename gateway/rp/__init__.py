"""The gateway as a plain OpenID Connect relying party, and the hand-over of a sign-in from the portal to an app's host."""
