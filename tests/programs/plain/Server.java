// Answers with its pid, by the server that comes with Java. usage: Server PORT
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class Server {
	public static void main(String[] args) throws Exception {
		HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(args[0])), 0);
		byte[] pid = (ProcessHandle.current().pid() + "\n").getBytes();

		server.createContext("/", exchange -> {
			exchange.sendResponseHeaders(200, pid.length);
			exchange.getResponseBody().write(pid);
			exchange.close();
		});
		server.setExecutor(Executors.newFixedThreadPool(4));
		server.start();
	}
}
