import { startEnterprise } from './support/enterprise.ts'

it('signs a user in', async () => {
  await using enterprise = await startEnterprise()
  const { idToken, refreshToken } = await enterprise.signIn({ user: 'bob', offline: true })
  expect(idToken.split('.')).toHaveLength(3)
  expect(refreshToken).toBeDefined()
})
