export const metadata = { title: 'next under umbel' };

export default function Layout({ children }) {
	return <html><body>{children}</body></html>;
}
