import type { JWTHeaderParameters, JWTPayload } from 'jose'
import type { RegisteredClient } from './client.ts'
import { addGrantType, providerDefaults, startProvider } from './provider.ts'
import type { ProviderBehaviour, RunningProvider } from './provider.ts'
import { Exchange } from './token-exchange.ts'
import { idJagType, tokenExchange } from './urns.ts'

/** An ID-JAG before it is signed. */
export interface IdJag {
  header: JWTHeaderParameters
  claims: JWTPayload
}

/** Switches of the identity provider; everything may be changed while it runs. */
export interface IdpBehaviour extends ProviderBehaviour {
  /** Lifetime of ID tokens in seconds. Default: 3600. */
  idTokenTtl: number
  /** Whether a refresh token is replaced when it is used. Default: true. */
  rotateRefreshTokens: boolean
  /** Error for a subject token that is invalid or expired. Default: `'invalid_grant'`. */
  subjectTokenError: 'invalid_grant' | 'invalid_request'
  /** Changes an ID-JAG before it is signed; a string is issued as it is. */
  alterIdJag?: ((idJag: IdJag) => IdJag | string) | undefined
  /** The widest scope ever granted. Default: all of it. */
  allowedScope?: string | undefined
  /** Authentication the exchange wants, else `insufficient_user_authentication`. */
  requireAuthentication?: AuthenticationRequirement | undefined
}

/** The switches as they are unless somebody turns them. */
export const idpDefaults: IdpBehaviour = {
  ...providerDefaults,
  idTokenTtl: 3600,
  rotateRefreshTokens: true,
  subjectTokenError: 'invalid_grant',
}

/** RFC 9470: a class reference and an age in seconds. */
export interface AuthenticationRequirement {
  acrValues?: string
  maxAge?: number
}

/** An authorization server the identity provider issues ID-JAGs for. */
export interface Audience {
  issuer: string
  resources: Set<string>
  /** Ids of its clients, by their ids at the identity provider. */
  clientIds: Map<string, string>
}

/** Authentication class the sign-in gives when it is asked for it. */
export const strongAcr = 'urn:corp.example:mfa'

export type IdentityProvider = RunningProvider & Exchange

/** Starts the enterprise identity provider: sign-in, and token exchange for ID-JAGs. */
export async function startIdentityProvider(
  setup: { issuer: string; clients: RegisteredClient[]; redirectUri: string },
  behaviour: IdpBehaviour,
): Promise<IdentityProvider> {
  const running = await startProvider(
    {
      ...setup,
      clientMetadata: {
        grant_types: ['authorization_code', 'refresh_token', tokenExchange],
        redirect_uris: [setup.redirectUri],
      },
      configuration: {
        acrValues: [strongAcr],
        claims: { openid: ['sub', 'acr', 'auth_time'], email: ['email'] },
        discovery: { identity_chaining_requested_token_types_supported: [idJagType] },
        rotateRefreshToken: () => behaviour.rotateRefreshTokens,
        ttl: { IdToken: () => behaviour.idTokenTtl, RefreshToken: 86_400 },
      },
    },
    behaviour,
  )
  const exchange = new Exchange(running, behaviour)
  addGrantType(running.provider, behaviour, {
    name: tokenExchange,
    parameters: [
      ...['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type'],
      ...['requested_token_type', 'audience', 'resource', 'scope', 'authorization_details'],
    ],
    handle: (ctx) => exchange.handle(ctx),
  })
  honourAcrValues(running)
  return Object.assign(exchange, running)
}

// The development sign-in page does not know authentication classes: the class asked for is the one reached.
function honourAcrValues({ provider }: RunningProvider): void {
  provider.use(async (ctx, next) => {
    const uid = /^\/auth\/([^/]+)$/.exec(ctx.path)?.[1]
    const interaction = uid === undefined ? undefined : await provider.Interaction.find(uid)
    const login = interaction?.result?.login
    const { acr_values: acr } = interaction?.params ?? {}
    if (interaction && login && typeof acr === 'string') {
      login.acr = acr.split(' ')[0]
      await interaction.save(interaction.exp - Math.floor(Date.now() / 1000))
    }
    await next()
  })
}
