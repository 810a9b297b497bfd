// Airflow: its list of DAGs, the province's run as grid and graph, what a task tells, and the assets that chain the DAGs.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.env.GRIDLAKE_AIRFLOW_FOLDER ?? join(import.meta.dirname, '..', '..', '..', '.airflow')
const read = (file) => { try { return JSON.parse(readFileSync(join(folder, file), 'utf8')) } catch { return {} } }

export const url = `http://127.0.0.1:${read('started.json').port ?? 8080}`
export const widths = [1440]

const settled = async (page) => { await page.waitForLoadState('networkidle').catch(() => {}); await page.waitForTimeout(1500) }

export async function take (page, shoot) {
  const password = read('passwords.json').admin
  await page.goto(`${url}/auth/login/`)
  await page.waitForSelector('input[type=password]')
  await page.fill('input[name=username]', 'admin')
  await page.fill('input[type=password]', password)
  await page.click('button[type=submit]')
  await page.waitForURL(target => !target.pathname.includes('login'))
  const answer = await page.request.post(`${url}/auth/token`, { data: { username: 'admin', password } })
  const headers = { Authorization: `Bearer ${(await answer.json()).access_token}` }
  const asked = async (path) => (await page.request.get(`${url}/api/v2/${path}`, { headers })).json()
  // The first run: later ones may have had nothing to do.
  const first = async (dag) => (await asked(`dags/${dag}/dagRuns?order_by=run_after&limit=1`)).dag_runs[0]
  const run = encodeURIComponent((await first('province')).dag_run_id)
  const feed = 'land__city_platform__event'
  const landed = encodeURIComponent((await first(feed)).dag_run_id)
  const pages = {
    home: '/',
    dags: '/dags?sort=dag_display_name',
    grid: '/dags/province',
    graph: `/dags/province/runs/${run}`,
    told: `/dags/province/runs/${run}/tasks/build__theme/xcom`,
    cities: `/dags/${feed}/runs/${landed}/tasks/land/mapped`,
    'feed-doc': `/dags/${feed}`,
    'asset-graph': `/assets/${(await asked('assets?limit=200')).assets.find(asset => asset.uri.endsWith('/snapshot')).id}`,
    assets: '/assets'
  }
  for (const [shot, path] of Object.entries(pages)) {
    await page.goto(url + path)
    await settled(page)
    const view = page.locator(shot === 'graph' ? '[aria-label^="显示图表"]' : '[aria-label^="显示网格"]')
    if (await view.count()) await view.first().click()
    if (shot === 'told') await page.locator('[aria-label^="展开"]:not([aria-label*="详细"]), [title^="展开"]').first().click({ timeout: 3000 }).catch(() => {})
    await settled(page)
    await shoot(shot)
  }
}
