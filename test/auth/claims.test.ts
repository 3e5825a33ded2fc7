import fc from 'fast-check'
import t from 'tap'
import { hasClaims } from '../../src/auth/claims.ts'

t.test('a person has a claim in each of the forms that issuers write it in', async (t) => {
  const claims = {
    role: 'editor',
    roles: ['reader', 'editor', 7, null, { role: 'admin' }, ['admin']],
    scope: 'read  write:all',
    scp: 'files.read mail.send',
    title: 'not admin',
    email_verified: true,
    level: 3,
    realm_access: { roles: ['offline'] },
    'https://app.example/roles': ['owner'],
    'a.b': 'whole',
    a: { b: 'inside' },
    none: null,
  }
  const cases: [wanted: Record<string, string[]>, has: boolean][] = [
    [{}, true],
    [{ role: ['admin', 'editor'] }, true],
    [{ role: ['admin'] }, false],
    [{ role: ['edit'] }, false],
    [{ role: ['Editor'] }, false],
    [{ roles: ['editor'] }, true],
    [{ roles: ['7'] }, true],
    [{ roles: ['admin'] }, false],
    [{ roles: ['null'] }, false],
    [{ scope: ['read'] }, true],
    [{ scope: ['write'] }, false],
    [{ scope: [''] }, false],
    [{ scope: ['read  write:all'] }, false],
    [{ scp: ['mail.send'] }, true],
    [{ title: ['admin'] }, false],
    [{ title: ['not admin'] }, true],
    [{ email_verified: ['true'] }, true],
    [{ level: ['3'] }, true],
    [{ none: ['null'] }, false],
    [{ missing: ['undefined'] }, false],
    [{ role: ['editor'], level: ['3'] }, true],
    [{ role: ['editor'], level: ['4'] }, false],
    [{ role: [] }, false],
    [{ 'realm_access.roles': ['offline'] }, true],
    [{ realm_access: ['offline'] }, false],
    [{ 'https://app.example/roles': ['owner'] }, true],
    [{ 'a.b': ['whole'] }, true],
    [{ 'a.b': ['inside'] }, false],
    [{ 'realm_access.roles.length': ['1'] }, false],
    [{ 'role.length': ['6'] }, false],
    [{ constructor: ['Object'] }, false],
    [{ 'constructor.name': ['Object'] }, false],
    [{ __proto__: ['x'] }, true],
    [{ toString: ['x'] }, false],
  ]
  for (const [wanted, has] of cases) t.equal(hasClaims(claims, wanted), has, JSON.stringify(wanted))
})

const word = fc.stringMatching(/^[a-z]{1,3}$/)
const claim = fc.oneof(word, fc.array(word, { maxLength: 3 }), fc.constant(null), fc.integer(), fc.boolean())
const claims = fc.dictionary(word, claim, { maxKeys: 4 })
const wanted = fc.dictionary(word, fc.array(word, { minLength: 1, maxLength: 3 }), { maxKeys: 3 })

t.test('whatever is wanted: more claims take no right away, and more wishes give none', async () => {
  fc.assert(
    fc.property(claims, wanted, word, claim, (has, wants, name, value) => {
      const may = hasClaims(has, wants)
      const losesBy = may && !hasClaims({ [name]: value, ...has }, wants)
      const gainsBy = !may && hasClaims(has, { [name]: ['a', 'b'], ...wants })
      return !losesBy && !gainsBy
    }),
  )
})

t.test('a person has what is wanted if and only if each claim holds one of its values', async () => {
  const listed = fc.dictionary(word, fc.array(word, { maxLength: 3 }), { maxKeys: 4 })
  fc.assert(
    fc.property(listed, wanted, (has, wants) => {
      const expected = Object.entries(wants).every(([name, values]) =>
        values.some((one) => has[name]?.includes(one)),
      )
      return hasClaims(has, wants) === expected
    }),
  )
})

t.test('claims of any shape are looked at without a fault', async () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.dictionary(fc.string(), fc.array(fc.string())),
      (has, wants) => {
        return typeof hasClaims(JSON.parse(JSON.stringify(has)), wants) === 'boolean'
      },
    ),
  )
})
