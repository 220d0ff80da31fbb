<?php

declare(strict_types=1);

namespace Fervo\Runner\Tests\Support;

/** PHP's own web server in the place of PHP-FPM, in a folder of its own: Fixtures/script.php is its front controller. */
final class Server
{
    public readonly string $folder;
    private readonly string $address;
    /** @var resource */
    private $process;

    public function __construct()
    {
        $this->folder = sys_get_temp_dir().'/fervo-runner-'.bin2hex(random_bytes(8));
        mkdir($this->folder, 0700);
        $socket = stream_socket_server('tcp://127.0.0.1:0') ?: throw new \RuntimeException('There is no free port.');
        $this->address = (string) stream_socket_get_name($socket, false);
        fclose($socket);
        $log = ['file', $this->folder.'/log', 'a'];
        $command = [\PHP_BINARY, '-d', 'error_log=', '-d', 'log_errors=1', '-d', 'display_errors=0', '-d', 'max_execution_time=30', '-S', $this->address, \dirname(__DIR__).'/Fixtures/script.php'];
        $this->process = proc_open($command, [['file', '/dev/null', 'r'], $log, $log], $pipes, $this->folder, ['FERVO_TEST_FOLDER' => $this->folder] + getenv()) ?: throw new \RuntimeException('PHP does not start.');
        for ($deadline = microtime(true) + 10; !$connection = @stream_socket_client('tcp://'.$this->address);) {
            if (microtime(true) > $deadline) {
                throw new \RuntimeException('PHP does not listen: '.$this->log());
            }
            usleep(5_000);
        }
        fclose($connection);
    }

    public function __destruct()
    {
        proc_terminate($this->process, \SIGKILL);
        proc_close($this->process);
        array_map(unlink(...), glob($this->folder.'/*') ?: []);
        rmdir($this->folder);
    }

    /**
     * @param array<string, string> $params what the worker sends
     *
     * @return array{array<string, string>, string, int} the headers of X-Fervo, the body, the status
     */
    public function request(string $body, array $params): array
    {
        $answer = (string) file_get_contents('http://'.$this->address, false, stream_context_create(['http' => [
            'method' => 'POST',
            'header' => ['Content-Type: application/octet-stream', 'Accept-Encoding: gzip', 'X-Params: '.json_encode($params, \JSON_UNESCAPED_SLASHES)],
            'content' => $body,
            'ignore_errors' => true,
            'timeout' => 30,
        ]]));
        preg_match_all('/^(X-Fervo-[\w-]+): (.*)$/m', implode("\n", $http_response_header), $match);

        return [array_combine($match[1], $match[2]), $answer, (int) explode(' ', $http_response_header[0])[1]];
    }

    public function log(): string
    {
        return (string) file_get_contents($this->folder.'/log');
    }
}
