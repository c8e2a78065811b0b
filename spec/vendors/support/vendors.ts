import { auth0 } from '../auth0.ts'
import { cloudflare } from '../cloudflare.ts'
import { descope } from '../descope.ts'
import { fastMcp, pythonSdk } from '../fastmcp.ts'
import { hydra } from '../hydra.ts'
import { keycloak } from '../keycloak.ts'
import { okta, oktaAiAgent } from '../okta.ts'
import { pingFederate } from '../ping-federate.ts'
import { stytch } from '../stytch.ts'
import { xaaDev } from '../xaa-dev.ts'
import type { Vendor } from './profile.ts'

/** Servers by the book, with no quirks of their own. */
export const byTheBook: Vendor = { name: 'By the book' }

/** Everybody the story is told of. */
export const vendors: readonly Vendor[] = [
  byTheBook,
  okta,
  oktaAiAgent,
  auth0,
  xaaDev,
  pingFederate,
  keycloak,
  hydra,
  descope,
  stytch,
  fastMcp,
  pythonSdk,
  cloudflare,
]
