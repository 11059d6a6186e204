# For puma: answers with its pid.
run ->(_) { [200, { 'content-type' => 'text/plain' }, ["#{Process.pid}\n"]] }
