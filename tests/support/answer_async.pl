# As answer.sh, in one process for all requests: it multiplexes connections and requests. Its argument is the socket.
use strict;
use warnings;
use IO::Async::Loop;
use Net::Async::FastCGI;

sub answer {
   my (undef, $request) = @_;
   # Bytes, not text.
   $request->set_encoding(undef);
   my $params = $request->params;
   my $body = $request->read_stdin // "";
   $request->print_stderr("$params->{ANSWER_STDERR}\n") if defined $params->{ANSWER_STDERR};
   $request->print_stdout(($params->{ANSWER_HEADER} // "Status: 200 OK") . "\r\nX-Pid: $$\r\n\r\n");
   $request->print_stdout(defined $params->{ANSWER_BYTES} ? "\0" x $params->{ANSWER_BYTES} : $body);
   $request->finish($params->{ANSWER_EXIT} // 0);
}

my $loop = IO::Async::Loop->new;
my $server = Net::Async::FastCGI->new(on_request => \&answer);
$loop->add($server);
$server->listen(
   addr => { family => "unix", socktype => "stream", path => $ARGV[0] },
   queuesize => 100,
   on_listen_error => sub { die "Cannot listen: $_[-1]\n" },
);
$loop->run;
