"""Places in which passwords and keys stand. `{}` is the secret."""

from __future__ import annotations

from typing import Final

BUILD: Final = (
    "DB_PASSWORD={}", "export OPENAI_KEY={}", "SECRET={}\nDEBUG=1", "API_TOKEN=\"{}\"", "set PGPASSWORD={}",
    "docker run -e MYSQL_ROOT_PASSWORD={} mysql:8", "ENV API_KEY {}", "ENV API_KEY={}", "$env:TOKEN = '{}'",
    "curl -u joe:{} https://api.example.com/", "curl --user joe:{} https://api.example.com/",
    "curl -H 'Authorization: Bearer {}' https://api.example.com", "curl -H \"X-Api-Key: {}\" https://x.example",
    "curl -d 'user=joe&password={}' https://x.example/login", "mysql -u root -p{} app", "mysql --password={} app",
    "sshpass -p {} ssh joe@host", "psql \"host=h user=joe password={} dbname=app\"", "PGPASSWORD={} psql -h h",
    "redis-cli -a {} ping", "mongosh -u joe -p {} mongodb://h/app", "docker login -u joe -p {} registry.example",
    "echo {} | docker login --password-stdin", "echo '{}' | sudo -S ls", "az login -u joe -p {}",
    "helm install x --set auth.password={}", "kubectl create secret generic x --from-literal=password={}",
    "aws configure set aws_secret_access_key {}", "htpasswd -b .htpasswd joe {}", "ldapsearch -D cn=admin -w {}",
    "openssl rsa -in k.pem -passin pass:{}", "smbclient //h/s -U joe%{}", "wget --http-password={} http://h/",
    "postgres://joe:{}@db.example:5432/app", "mysql+pymysql://joe:{}@db/app", "mongodb+srv://joe:{}@c.example/app",
    "redis://:{}@cache:6379/0", "amqps://joe:{}@mq/vhost", "https://joe:{}@git.example/o/r.git", "ftp://joe:{}@h/x",
    "smtp://joe%40x.example:{}@mail:587", "joe:{}@tcp(db:3306)/app", "jdbc:mysql://h/app?user=joe&password={}",
    "jdbc:oracle:thin:joe/{}@//h:1521/x", "jdbc:sqlserver://h;user=sa;password={};encrypt=true",
    "Server=h;Database=app;User Id=joe;Password={};", "Driver={{ODBC}};Server=h;UID=joe;PWD={}",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=core.windows.net",
    "Endpoint=sb://x.example/;SharedAccessKeyName=r;SharedAccessKey={}", "host:6379,password={},ssl=True",
    "machine h.example login joe password {}", "machine h.example\n  login joe\n  password {}\n",
    "//registry.example/:_authToken={}", "_auth={}", "[server]\nusername = joe\npassword = {}\n",
    "https://joe:{}@github.com", "Authorization: Basic {}", "Authorization: Bearer {}", "Proxy-Authorization: Basic {}",
    "Cookie: session={}; theme=dark", "Set-Cookie: sid={}; Path=/; HttpOnly", "X-Auth-Token: {}", "x-api-key: {}",
    '{{"password": "{}"}}', '{{"user": {{"api_key": "{}", "id": 5}}}}', "{{'token': '{}'}}", 'log: {{\\"secret\\": \\"{}\\"}}',
    "password: {}", "db:\n  password: {}\n  port: 5\n", "password:\n  {}\nuser: joe", "password: >-\n  {}\n",
    "- name: DB_PASSWORD\n  value: {}\n", '{{"name": "API_KEY", "value": "{}"}} and more', "password = \"{}\"", "api_key = '{}'  # mine",
    "spring.datasource.password={}", "<password>{}</password>", '<add key="ApiKey" value="{}"/>', '<input name="password" value="{}">',
    "CREATE USER joe IDENTIFIED BY '{}';", "ALTER ROLE joe WITH PASSWORD '{}'", "UPDATE users SET password='{}' WHERE id=1",
    "SET PASSWORD FOR 'joe'@'%' = '{}';", "CREATE LOGIN joe WITH PASSWORD = N'{}'",
    'Content-Disposition: form-data; name="password"\r\n\r\n{}\r\n--x', "https://h/cb?access_token={}&state=1",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=c&X-Amz-Signature={}", "https://x.blob.core.windows.net/c?sv=2020&sig={}",
    "https://storage.googleapis.com/b/o?X-Goog-Signature={}&x=1", "my password is {}", "the password for joe: {}",
    "login joe / password {}", "Passwort: {}", "contraseña: {}", "пароль: {}", "密码：{}", "mot de passe : {}", "token=\"{}\";",
    "define('DB_PASSWORD', '{}');", "setPassword(\"{}\")", "os.environ[\"API_KEY\"] = \"{}\"", "client = Client(api_key=\"{}\")",
    "const secret = `{}`;", "password => '{}',", ":password => \"{}\"", "ConvertTo-SecureString '{}' -AsPlainText -Force",
    "net user joe {} /add", "requirepass {}", "db.example:5432:app:joe:{}", "ansible_password={}", "psk=\"{}\"",
)  # fmt: skip
"""Places with which the rules were made."""

LATER: Final = (
    "NPM_TOKEN={}","export DJANGO_SECRET_KEY='{}'","TWILIO_AUTH_TOKEN: {}","GITLAB_PRIVATE_TOKEN={} make","kubectl create secret docker-registry r --docker-password={}","gcloud sql users set-password joe --password={}","aws ecr get-login-password | docker login -u AWS -p {}","psql postgresql://joe:{}@h/db","mysql://root:{}@tcp(127.0.0.1:3306)/x","influx -username joe -password {}","rsync rsync://joe:{}@h/m","git clone https://oauth2:{}@gitlab.example/x.git","ssh joe@h # password: {}","SECRET_KEY_BASE={}","\"apiKey\" : \"{}\"","api-key = \"{}\"","  client_secret: '{}'","auth_token => '{}'","new Client({{ apiKey: '{}' }})","Client(token='{}', timeout=5)","x.setRequestHeader('Authorization', 'Token {}')","Authorization: AWS AKIAX:{}","X-Shopify-Access-Token: {}","grant_type=password&username=joe&password={}","&client_secret={}&scope=x","{{\"variables\": {{\"password\": \"{}\"}}}} tail","<wsse:Password Type=\"x\">{}</wsse:Password>","<secret>{}</secret>","password={}","pwd: {}","The token was {} until today","your new password is {}","use password {} to log in","Kennwort: {}","heslo: {}","contraseña = {}","ключ API: {}","令牌: {}","access_key: {}","aws_session_token = {}","vault kv put secret/x password={}","consul-token {}","-var 'db_pass={}'","--set-string secret.key={}","RAILS_MASTER_KEY={}","JWT_SECRET=\"{}\"","basic_auth:\n  username: joe\n  password: {}","proxy = http://joe:{}@p:8080","AMQP_URL=amqp://g:{}@mq","sslpassword={}",
)  # fmt: skip
"""Places that were written down when the rules were finished. Three of four kinds that they missed were mended."""

CHECK: Final = (
    "MAIL_PASS={}", "export GITHUB_PAT='{}'", "STRIPE_SECRET={}\r\nX=1", "environment:\n  - REDIS_PASSWORD={}", "heroku config:set SENDGRID_KEY={}",
    "docker run --env DB_PASS={} app", "ARG NPM_TOKEN={}", "setx API_SECRET {}", "SetEnv DB_PASSWORD {}", "fly secrets set SECRET_KEY={}",
    "curl --proxy-user joe:{} http://h/", "curl -X POST -F 'password={}' http://h", "http -a joe:{} https://x.example", "wget --password {} ftp://h",
    "mysqldump -h h -uroot -p'{}' app", "mongodump --username joe --password {} --db app", "sqlcmd -S h -U sa -P {}", "cqlsh h -u joe -p {}",
    "podman login quay.example -u joe -p {}", "plink -ssh joe@h -pw {}", "unzip -P {} a.zip", "7z x a.7z -p{}", "keytool -keystore k -storepass {}",
    "gpg --batch --passphrase {} -d f", "vault login {}", "mc alias set my http://h joe {}", "rabbitmqctl add_user joe {}", "printf '{}' | podman login --password-stdin q",
    "echo 'joe:{}' | chpasswd", "gh secret set X --body x --token {}", "terraform apply -var=\"db_password={}\"", "snmpwalk -v3 -A {} h",
    "postgresql+asyncpg://app:{}@10.0.0.5/db", "cockroachdb://joe:{}@h:26257/db?sslmode=verify-full", "clickhouse://default:{}@h:9000/x", "nats://joe:{}@h:4222",
    "mssql+pyodbc://sa:{}@h/db?driver=x", "rediss://default:{}@x.example:6380", "ldap://cn=x:{}@h", "socks5://joe:{}@proxy:1080", "sftp://joe:{}@h:22/x",
    "Data Source=h;Initial Catalog=db;User ID=joe;Password='{}'", "host=h port=5432 user=joe password='{}'", "mongodb://joe:{}@a,b,c/db?replicaSet=r",
    "snowflake://joe:{}@acc/db", "Provider=x;Data Source=y;Jet OLEDB:Database Password={};", "sqlplus joe/{}@orcl", "HostName=h;DeviceId=d;SharedAccessKey={}",
    "default login joe password {}", "[upload]\nrepository: x\nusername: joe\npassword: {}", "registry=https://r/\n//r/:_password={}", "machine h login joe account a password {}",
    "X-Vault-Token: {}", "Api-Key: {}", "Authorization: Token {}", "Authorization: ApiKey {}", "PRIVATE-TOKEN: {}", "Cookie: csrftoken=x; sessionid={}", "X-Amz-Security-Token: {}",
    '{{"auth": {{"client_secret": "{}"}}, "n": 1}} trailing', '{{"credentials":{{"accessKeyId":"x","secretAccessKey":"{}"}}}}', '"refreshToken":"{}",', "{{'Authorization': 'Bearer {}'}}",
    "auth:\n    token: '{}'\n", "stringData:\n  api-key: {}\n", "secret_key: |\n  {}\nother: 1", "env:\n- name: AWS_SECRET_ACCESS_KEY\n  value: \"{}\"", "credentials:\n  - joe: x\n    password: {}",
    "[database]\npassword = \"{}\"\nport = 1", "aws_secret_access_key = {}", "smtp.password: {}", "rclone:\npass = {}", "<connection password=\"{}\" user=\"joe\"/>",
    "<apiKey>{}</apiKey>", "<property name=\"hibernate.connection.password\" value=\"{}\"/>", "<string name=\"api_secret\">{}</string>", "<key>Password</key>\n<string>{}</string>",
    "GRANT ALL ON *.* TO 'joe'@'h' IDENTIFIED BY '{}'", "CREATE ROLE joe LOGIN ENCRYPTED PASSWORD '{}'", "CREATE SECRET s (TYPE S3, KEY_ID 'x', SECRET '{}')", "SELECT crypt('{}', gen_salt('bf'))",
    "INSERT INTO users (name, password) VALUES ('joe', '{}')", "ALTER USER joe IDENTIFIED BY {};", "https://h/login?user=joe&pwd={}", "https://h/x?api_key={}", "https://h/#id_token={}&x=1",
    "https://d.cloudfront.net/x?Policy=p&Signature={}&Key-Pair-Id=k", "https://x.s3.amazonaws.com/y?AWSAccessKeyId=a&Expires=1&Signature={}", "redirect=https%3A%2F%2Fh%3Ftoken%3D{}%26x%3D1",
    "The API key is {}.", "username: joe, password: {}", "user joe with password \"{}\"", "use this token: {}", "PIN and password: joe / {}", "senha: {}", "mật khẩu: {}", "비밀번호: {}", "パスワード：{}", "wachtwoord = {}",
    "$password = '{}';", "password: \"{}\",", "Password = \"{}\";", "String apiKey = \"{}\";", "let token: string = '{}'", "headers.set(\"Authorization\", \"Bearer {}\")", "request.setHeader('X-Api-Key', '{}')",
    "auth=('joe', '{}')", "login(username='joe', password='{}')", "api_key=os.getenv('X', '{}')", "New-Object PSCredential('joe', (ConvertTo-SecureString \"{}\" -AsPlainText))", "net use z: \\\\h\\s {} /user:joe",
    "masterauth {}", "enable secret {}", "username joe password 0 {}", "snmp-server community {} RO", "wpa_passphrase home {}", "WIFI:T:WPA;S:home;P:{};;", "*:*:app:joe:{}", "PrivateKey = {}", "**Password:** {}", "| password | {} |",
)  # fmt: skip
"""Places that were written down before any rule was tried on them. Some that were missed were mended."""

SECRETS: Final = (
    "<A16>",
    "<A32>",
    "<A7>!<A6>#<A3>",
    "<H40>",
    "<B43>",
    "<L12>",
    "tiger<D4>",
    "<A10>@<A5>",
    "<A24>/<A8>",
)
"""Passwords and keys that are tried in each place, in turn."""
