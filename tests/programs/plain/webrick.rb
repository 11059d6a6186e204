# Answers with its pid. usage: webrick.rb PORT
require 'webrick'

server = WEBrick::HTTPServer.new(Port: ARGV[0].to_i, AccessLog: [], Logger: WEBrick::Log.new($stderr, 1))
server.mount_proc('/') { |_, answer| answer.body = "#{Process.pid}\n" }
trap('TERM') { server.shutdown }
server.start
